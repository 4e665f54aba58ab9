use eventstream::{Event, EventType, State, Subscribe};

#[derive(EventType)]
#[event(topic = "t", name = "typed")]
struct Typed {}

async fn handler(_: Event, State(_): State<u32>) -> Result<(), String> {
    Ok(())
}

fn main() {
    let _ = Subscribe::new(Typed::TOPIC).state(1u32).on(Typed::NAME, handler);
}
