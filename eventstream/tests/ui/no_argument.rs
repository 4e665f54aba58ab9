use eventstream::Subscribe;

async fn handler(_: u64) {}

fn main() {
    let _ = Subscribe::new("t").on("e", handler);
}
