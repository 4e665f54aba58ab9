//! Where the harness keeps downloads, builds and logs.

use std::path::{Path, PathBuf};

/// The root of the workspace this harness was built in.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the harness is a folder of the workspace")
}

/// The folder, ignored by git, of the jars, the Go peer and the brokers' logs.
#[must_use]
pub fn home() -> PathBuf {
    workspace().join(".kafka")
}

/// The folder of the brokers' logs. A program's next run overwrites those of the last one, so they do not accumulate.
pub(crate) fn logs() -> PathBuf {
    home().join("logs")
}
