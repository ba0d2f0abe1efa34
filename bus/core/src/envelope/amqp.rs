//! The AMQP 0-9-1 binding: CloudEvents binary mode with headers `ce-*`.
