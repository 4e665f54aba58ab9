#![no_main]

libfuzzer_sys::fuzz_target!(|line: &[u8]| eventstream_fuzz::ndjson(line));
