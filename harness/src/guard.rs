//! Child processes that cannot outlive the process that started them.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// A watcher reads from a pipe that only the parent can write to. End of file without a message means that the parent
/// is gone, even if it was killed with SIGKILL or exited through `exit` with the child in a static. `exec` keeps the
/// process id, so the child is the program itself. The watcher closes the output, or a reader would never see its
/// end. Linux's parent-death signal would do too, but it fires when the spawning *thread* ends, as test threads do.
const SCRIPT: &str = r#"
exec 3<&0 </dev/null
( IFS= read -r _ <&3 || { kill -9 $$; if [ -n "$0" ]; then rm -rf "$0"; fi; } ) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"#;

/// A running child. Dropping it kills it; the end of this process, of whatever kind, kills it too.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
}

impl Guarded {
    /// Starts `program` in its own process group, so that Ctrl-C only reaches the parent, which then decides.
    ///
    /// `scratch` is removed by the watcher when this process dies without dropping the value.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn spawn(
        program: &Path,
        arguments: &[String],
        scratch: Option<&Path>,
        stdout: Stdio,
        stderr: File,
    ) -> Result<Self> {
        let child = Command::new("sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg(scratch.unwrap_or(Path::new("")))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child's standard output, if it was piped and not taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How the child ended, or `None` while it runs.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.dismiss_watcher();
        }
        Ok(status)
    }

    /// Sends a signal. A child that has already exited is not an error.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no such process id")?;
        kill_process(pid, signal).with_context(|| format!("signalling process {}", self.child.id()))
    }

    /// Asks the child to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// It is still there after `within`.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        eventually("the process to end", within, || self.exit_status())
    }

    /// Ends the child with SIGKILL and waits for it.
    pub fn kill(&mut self) -> ExitStatus {
        // The watcher goes first: after the wait below, the process id may be reused.
        self.dismiss_watcher();
        let _ = self.child.kill();
        self.child
            .wait()
            .unwrap_or_else(|_| ExitStatus::from_raw(9))
    }

    fn dismiss_watcher(&mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}
