#[derive(eventstream::EventType)]
#[event(name = "levelUp")]
struct LevelUp;

fn main() {}
