//! A Kafka to experiment with.

use std::io::Write as _;
use std::thread;

use anyhow::Result;
use clap::Args;
use harness::{DEFAULT_VERSION, Jars, Kafka, Secured};

#[derive(Args)]
pub(crate) struct Up {
    /// How many nodes: 1 or 3
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// The version of Apache Kafka; its jars are fetched if need be
    #[arg(long, default_value = DEFAULT_VERSION)]
    version: String,
    /// Add listeners with TLS and SASL
    #[arg(long)]
    secured: bool,
}

impl Up {
    pub(crate) fn run(self) -> Result<()> {
        Jars::fetch(&self.version)?;
        let mut builder = Kafka::builder()
            .version(&self.version)
            .nodes(self.nodes)
            .for_throughput();
        if self.secured {
            builder = builder.secured();
        }
        let kafka = builder.start()?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", kafka.bootstrap())?;
        if self.secured {
            describe(&mut stdout, kafka.secured()?)?;
        }
        writeln!(stdout, "Apache Kafka {} runs until Ctrl-C", self.version)?;
        // Any exit of this process, including Ctrl-C, ends the nodes and removes their data.
        loop {
            thread::park();
        }
    }
}

fn describe(stdout: &mut impl std::io::Write, secured: &Secured) -> Result<()> {
    let certificates = &secured.certificates;
    writeln!(stdout, "SASL_SSL        {}", secured.sasl_ssl)?;
    writeln!(stdout, "SASL_PLAINTEXT  {}", secured.sasl_plaintext)?;
    writeln!(
        stdout,
        "SSL             {}  (client certificate required)",
        secured.ssl
    )?;
    writeln!(
        stdout,
        "SCRAM user      {} / {}",
        secured.scram.name, secured.scram.password
    )?;
    writeln!(
        stdout,
        "PLAIN user      {} / {}",
        secured.plain.name, secured.plain.password
    )?;
    writeln!(stdout, "CA              {}", certificates.ca.display())?;
    writeln!(
        stdout,
        "client          {}",
        certificates.client.certificate.display()
    )?;
    writeln!(
        stdout,
        "client key      {}",
        certificates.client.key.display()
    )?;
    Ok(())
}
