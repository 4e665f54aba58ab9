//! The end of a process that has had a client. Alone in its binary, which it runs once more as that process.

use std::ffi::c_int;
use std::process::Command;

use eventstream::{BrokerConfig, Client, Security};

const CHILD: &str = "EVENTSTREAM_TEST_EXITS";
const CLEANED_UP: &str = "OpenSSL has cleaned up";

unsafe extern "C" {
    fn OPENSSL_atexit(handler: extern "C" fn()) -> c_int;
}

extern "C" fn cleaned_up() {
    println!("{CLEANED_UP}");
}

/// Threads that librdkafka still ends use OpenSSL until they are gone: cleaned up by then, the process crashes.
#[test]
fn openssl_does_not_clean_up_while_threads_end() {
    if std::env::var_os(CHILD).is_some() {
        let config = BrokerConfig::new().security(Security::none().tls(true));
        let _client = Client::kafka(["127.0.0.1:9"])
            .config(config)
            .build()
            .unwrap();
        // SAFETY: the handler may be called at any time.
        assert_eq!(unsafe { OPENSSL_atexit(cleaned_up) }, 1);
        std::process::exit(0);
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.arg("--nocapture").env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains(CLEANED_UP), "{said}");
}
