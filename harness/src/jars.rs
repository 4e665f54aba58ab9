//! Apache Kafka as jars from Maven Central: apart from Java, a broker needs nothing else.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::paths::home;

/// The version that tests run against.
pub const DEFAULT_VERSION: &str = "4.3.1";
/// The older line, for compatibility: the last version before Kafka 4.
pub const OLDER_VERSION: &str = "3.9.2";
/// The oldest version that runs on the Java that the newest requires.
pub const OLDEST_VERSION: &str = "2.8.2";

/// Written last, so that an interrupted download is not mistaken for a complete one.
const MARKER: &str = "complete";

/// The jars of one version of Apache Kafka.
#[derive(Clone, Debug)]
pub struct Jars {
    version: String,
    folder: PathBuf,
}

impl Jars {
    /// The jars that an earlier [`Jars::fetch`] has downloaded.
    ///
    /// # Errors
    /// They are not there; the message names the command that fetches them.
    pub fn find(version: &str) -> Result<Self> {
        let jars = Self::at(version);
        if !jars.folder.join(MARKER).exists() {
            bail!("Apache Kafka {version} is not here: run `cargo xtask setup`");
        }
        require_java()?;
        Ok(jars)
    }

    /// Downloads the jars with Maven, unless they are already there.
    ///
    /// # Errors
    /// Java or Maven is missing, or Maven fails; the message has the remedy or the end of Maven's output.
    pub fn fetch(version: &str) -> Result<Self> {
        let jars = Self::at(version);
        require_java()?;
        if jars.folder.join(MARKER).exists() {
            return Ok(jars);
        }
        fs::create_dir_all(&jars.folder)
            .with_context(|| format!("creating {}", jars.folder.display()))?;
        let pom = jars.folder.join("pom.xml");
        fs::write(&pom, pom_text(version)).with_context(|| format!("writing {}", pom.display()))?;
        let libs = jars.libs();
        if libs.exists() {
            fs::remove_dir_all(&libs).with_context(|| format!("removing {}", libs.display()))?;
        }
        let output = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(&pom)
            .arg("dependency:copy-dependencies")
            .arg(format!("-DoutputDirectory={}", libs.display()))
            .arg("-DincludeScope=runtime")
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("Maven is missing: install it (on Debian `apt-get install maven`)")
            }
            other => other.context("running mvn")?,
        };
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            let mut lines: Vec<_> = text.lines().rev().take(15).collect();
            lines.reverse();
            bail!(
                "Maven could not fetch Apache Kafka {version}:\n{}",
                lines.join("\n")
            );
        }
        fs::write(jars.folder.join(MARKER), "").context("marking the jars as complete")?;
        Ok(jars)
    }

    /// The version, as in `4.3.1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The class path that holds all jars.
    #[must_use]
    pub fn class_path(&self) -> String {
        self.libs().join("*").display().to_string()
    }

    /// Whether this version logs through log4j 2; older ones use log4j 1.
    pub(crate) fn has_log4j2(&self) -> bool {
        major(&self.version) >= 4
    }

    fn libs(&self) -> PathBuf {
        self.folder.join("libs")
    }

    fn at(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            folder: home().join(version),
        }
    }
}

fn major(version: &str) -> u32 {
    version
        .split('.')
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

fn require_java() -> Result<()> {
    match Command::new("java")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
    {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`java -version` failed with {status}"),
        Err(_) => bail!(
            "Java is missing: install version 17 or newer (on Debian `apt-get install default-jre-headless`)"
        ),
    }
}

/// The broker, its tools, and a binding for slf4j: without one, a broker that cannot start logs nothing.
fn pom_text(version: &str) -> String {
    let binding = if major(version) >= 4 {
        dependency("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4")
    } else {
        dependency("org.slf4j", "slf4j-reload4j", "1.7.36")
    };
    let broker = dependency("org.apache.kafka", "kafka_2.13", version);
    let tools = dependency("org.apache.kafka", "kafka-tools", version);
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n\
         <modelVersion>4.0.0</modelVersion>\n\
         <groupId>eventstream</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>\n\
         <dependencies>\n{broker}{tools}{binding}</dependencies>\n\
         </project>\n"
    )
}

fn dependency(group: &str, artifact: &str, version: &str) -> String {
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
         <version>{version}</version></dependency>\n"
    )
}
