use eventstream::{Event, Subscribe};

async fn handler(_: Event) {}

fn main() {
    let _ = Subscribe::new("t").on_event(handler);
}
