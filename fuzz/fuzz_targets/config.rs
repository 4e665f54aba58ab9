#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| eventstream_fuzz::config(text));
