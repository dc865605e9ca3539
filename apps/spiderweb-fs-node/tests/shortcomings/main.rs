//! Where the original node falls short, and ours must not: one test or more for every row of the contract's
//! section 18 that concerns a folder. Each fails on the original. They talk to the real binary through raw sockets.
//!
//! | Row | Symptom on the original | Tests |
//! |---|---|---|
//! | 1 | ids of objects outside, through links | `security::an_id_guessed_*`, `security::a_link_made_by_a_client_*`, `security::a_read_only_export_*` |
//! | 2 | `rename` of an outward link | `security::renaming_an_outward_link_*` |
//! | 3 | deep JSON ends the process | `security::deep_json_*` |
//! | 4 | huge offsets, rename into the own subtree | `security::offsets_at_the_end_*`, `security::a_directory_renamed_into_itself_*` |
//! | 5 | resets during broadcasts | `security::clients_that_reset_*` |
//! | 6 | token guessing | `security::guessing_tokens_*` |
//! | 7 | countable handles | `security::handles_cannot_be_counted_*` |
//! | 8 | no limit for upgrade and connections | `security::an_upgrade_that_never_ends_*`; `connections` and `hello` in `crates/node/tests/limits.rs` |
//! | 9 | the reserved directory | `security::the_reserved_directory_*` |
//! | 10 | truncate bit | `results::opening_with_the_truncate_bit_*` |
//! | 11 | `next_cookie`, listings over 4 MiB | `listings::a_listing_over_the_frame_limit_*` |
//! | 12 | paging with dangling links | `listings::dangling_links_*` |
//! | 13 | looping link, path over 4096 bytes | `listings::a_looping_link_*`, `listings::a_path_longer_than_the_systems_*` |
//! | 14 | ids below a renamed directory | `results::ids_below_a_renamed_directory_*` |
//! | 15 | one inode number on two file systems | `results::equal_inode_numbers_*` |
//! | 16 | errno 5 for everything | `results::every_refusal_has_its_own_number`, `results::a_file_over_the_size_limit_*`, `results::handles_used_up_*` |
//! | 17 | link counts, statfs | `results::link_counts_and_sizes_*` |
//! | 18 | `rename` of dangling links | `results::a_dangling_link_can_be_renamed` |
//! | 19 | names that cannot be said | `listings::names_that_cannot_be_said_*` |
//! | 20 | lost, doubled and unwanted events | `events::*` |
//! | 24 | waiting lock, FIFO | `availability::a_waiting_lock_*`, `availability::a_lock_that_stays_held_*`, `availability::closing_a_handle_*`, `availability::opening_a_fifo_*` |
//! | 25 | a client that stops reading | `availability::a_client_that_stops_reading_*` |
//! | 26, 27 | scans and quadratic paging | `listings::small_pages_of_a_large_directory_*`, `availability::an_idle_node_*` |
//! | 28 | leaked handles | `availability::handles_of_*`; the grace itself in `crates/fs/src/handle.rs` |
//! | 31 | no drain | `availability::a_stopping_node_*` |
//!
//! Row 22 is `a_create_that_is_repeated_*` in `crates/node/tests/slow_disk`. Row 21 is about the cloud source; 23, 29 and 30 are measured by
//! the benchmark.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a broken assumption should stop the test where it is noticed"
)]

mod availability;
mod bench;
mod events;
mod listings;
mod results;
mod security;
