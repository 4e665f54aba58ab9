#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| eventstream_fuzz::decode_event(bytes));
