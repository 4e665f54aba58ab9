//! `group seek` without Kafka.

use crate::support::Broker;

#[test]
fn a_partition_that_is_not_there_is_wrong_usage() {
    let broker = Broker::start(&["t:2"]);
    let seek = ["group", "seek", "g", "--topic", "t", "--to", "head"];
    let args = [&seek[..], &["--partition", "99", "--yes"]].concat();
    let told = broker.run(&args, "").expect(2).err;
    let fault = "--partition \"99\": must be from 0 to 1";
    assert!(told.contains(fault), "{told}");
}
