use eventstream::{Event, Handler, Subscribe};

async fn handler(_: Event) {}

fn main() {
    let _ = Subscribe::new("t").on("e", handler.layer("no layer"));
}
