#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eventstream_fuzz::dead_letter(bytes));
