#[derive(eventstream::EventType)]
#[event(topic = "player", name = "levelUp", kay = level)]
struct LevelUp {
    level: u32,
}

fn main() {}
