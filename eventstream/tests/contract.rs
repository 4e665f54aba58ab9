//! The contract suite on the embedded broker: no network beyond the loopback, no Java.

use eventstream_harness::contract::Setup;

eventstream_harness::contract!(Setup::embedded, embedded);
