use eventstream::{Event, Subscribe};

fn handler(_: Event) {}

fn main() {
    let _ = Subscribe::new("t").on("e", handler);
}
