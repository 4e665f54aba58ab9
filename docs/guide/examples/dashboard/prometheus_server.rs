//! A Prometheus that scrapes the service each second.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{Guarded, eventually};
use serde_json::Value;
use tempfile::TempDir;

pub(super) struct Prometheus {
    address: SocketAddr,
    _process: Guarded,
    _folder: TempDir,
}

impl Prometheus {
    pub(super) fn start(metrics: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let configuration = folder.path().join("prometheus.yml");
        let scraping = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{metrics}']}}]}}]\n"
        );
        fs::write(&configuration, scraping)?;
        // Free until Prometheus binds it, which is a moment later.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = fs::File::create(folder.path().join("log"))?;
        let arguments = [
            format!("--config.file={}", configuration.display()),
            format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ),
            format!("--web.listen-address={address}"),
        ];
        let program = Path::new("prometheus");
        let process = Guarded::spawn(program, &arguments, None, Stdio::null(), log)
            .context("is `prometheus` in PATH?")?;
        let prometheus = Self {
            address,
            _process: process,
            _folder: folder,
        };
        let is_up = || Ok(prometheus.get("/-/ready").is_ok().then_some(()));
        eventually("Prometheus to be ready", Duration::from_secs(30), is_up)?;
        Ok(prometheus)
    }

    /// The series of an expression from `start` to `end`, each `step` seconds.
    pub(super) fn series(
        &self,
        expression: &str,
        start: f64,
        end: f64,
        step: u32,
    ) -> Result<Vec<Value>> {
        let mut query = String::new();
        for byte in expression.bytes() {
            write!(query, "%{byte:02X}")?;
        }
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let answer: Value = serde_json::from_str(&self.get(&path)?)?;
        ensure!(answer["status"] == "success", "{expression}: {answer}");
        let series = answer["data"]["result"].as_array();
        Ok(series.context("no result")?.clone())
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        // With version 1.0 the answer comes as it is and ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let is_told = head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.0 400");
        ensure!(is_told, "{head}");
        Ok(body.to_owned())
    }
}
