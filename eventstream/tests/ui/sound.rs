use eventstream::{Event, State, Subscribe};

async fn handler(_: Event, State(_): State<u32>) -> Result<(), String> {
    Ok(())
}

fn main() {
    let _ = Subscribe::new("t").state(1u32).on("e", handler);
}
