//! The chores of this workspace, as `cargo xtask <chore>`.

use anyhow::Result;
use harness::{DEFAULT_VERSION, Jars, OLDER_VERSION};

fn main() -> Result<()> {
    for version in [DEFAULT_VERSION, OLDER_VERSION] {
        Jars::fetch(version)?;
    }
    Ok(())
}
