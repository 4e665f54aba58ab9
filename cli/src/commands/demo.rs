use crate::{connection::Connection, exit::Exit, signals::Interrupt};
pub(crate) const EXAMPLES: &str = "Examples:\n  eventstream demo";
pub(crate) async fn run(_c: &Connection, _i: &Interrupt) -> anyhow::Result<Exit> {
    Ok(Exit::Failed)
}
