use eventstream::{State, Subscribe};

async fn handler(State(_): State<u32>) {}

fn main() {
    let _ = Subscribe::new("t").on("e", handler);
}
