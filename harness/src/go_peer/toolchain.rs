//! The Go toolchain that builds the peer: the machine's, or one downloaded from the Go module
//! proxy.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::paths::home;

/// Downloaded if the machine has no recent enough Go.
const VERSION: &str = "1.26.8";
/// Required by the peer's `go.mod`.
const NEEDED: (u32, u32) = (1, 22);
/// Used unless `GOPROXY` is set.
const PROXY: &str = "https://proxy.golang.org";

/// The `go` command.
pub(super) fn go() -> Result<PathBuf> {
    if installed().is_some_and(|version| version >= NEEDED) {
        return Ok("go".into());
    }
    let folder = home().join(format!("go-{VERSION}"));
    let go = folder.join("bin").join("go");
    if !go.exists() {
        fetch(&folder).with_context(|| {
            format!(
                "there is no Go {}.{} or newer, and fetching it failed",
                NEEDED.0, NEEDED.1
            )
        })?;
    }
    Ok(go)
}

/// The version of the `go` in `PATH`.
fn installed() -> Option<(u32, u32)> {
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    version(text.trim())
}

/// `(1, 26)` of `go1.26.8`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit());
    Some((major, minor[..digits.unwrap_or(minor.len())].parse().ok()?))
}

/// The module proxy's name for this machine, and the SHA-256 of the download.
fn archive() -> Result<(&'static str, &'static str)> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok((
            "linux-amd64",
            "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
        )),
        ("linux", "aarch64") => Ok((
            "linux-arm64",
            "02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99",
        )),
        (os, arch) => bail!("nothing is known to fetch for {os} on {arch}: install Go"),
    }
}

fn fetch(folder: &Path) -> Result<()> {
    let (platform, digest) = archive()?;
    let module = format!("golang.org/toolchain@v0.0.1-go{VERSION}.{platform}");
    let proxies = std::env::var("GOPROXY").unwrap_or_default();
    let proxy = proxies
        .split([',', '|'])
        .find(|proxy| proxy.contains("://"))
        .unwrap_or(PROXY);
    let url = format!(
        "{}/{}.zip",
        proxy.trim_end_matches('/'),
        module.replace('@', "/@v/")
    );
    fs::create_dir_all(home())?;
    let zip = tempfile::NamedTempFile::new_in(home())?;
    let output = Command::new("curl")
        .args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--retry",
            "3",
            "--output",
        ])
        .arg(zip.path())
        .arg(url)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("curl is missing: install it, or Go (on Debian `apt-get install curl`)")
        }
        other => other.context("running curl")?,
    };
    ensure!(
        output.status.success(),
        "curl: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let archive = fs::read(zip.path())?;
    let found = hex(&Sha256::digest(&archive));
    ensure!(
        found == digest,
        "{module} has the SHA-256 {found}, not {digest}"
    );

    // The name that is looked for exists only once everything is unpacked.
    let unpacked = tempfile::tempdir_in(home())?;
    zip::ZipArchive::new(io::Cursor::new(archive))?.extract(unpacked.path())?;
    let root = unpacked.path().join(module);
    make_executable(&root)?;
    fs::rename(root, folder).context("naming the Go toolchain")
}

/// Module archives do not preserve permissions.
fn make_executable(root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let tools = root.join("pkg").join("tool");
    let mut folders = vec![root.join("bin")];
    for platform in fs::read_dir(&tools)? {
        folders.push(platform?.path());
    }
    for file in folders
        .iter()
        .map(fs::read_dir)
        .collect::<io::Result<Vec<_>>>()?
    {
        for file in file {
            fs::set_permissions(file?.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn reads_versions_of_go() {
        assert_eq!(version("go1.26.8"), Some((1, 26)));
        assert_eq!(version("go1.19"), Some((1, 19)));
        assert_eq!(version("go1.27rc1"), Some((1, 27)));
        assert_eq!(version("devel +abc"), None);
    }
}
