use eventstream::{Event, Subscribe};

async fn handler(_: Event) -> Result<u32, String> {
    Ok(1)
}

fn main() {
    let _ = Subscribe::new("t").on("e", handler);
}
