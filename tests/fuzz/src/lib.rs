//! What several fuzz targets need: sockets in memory, and HTTP/2 frames whose
//! lengths fit, so that a fuzzer gets past them to what they hold.

pub mod http2;
