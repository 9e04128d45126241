// Digests of files on disk, by which those that were written are known again.
#pragma once

#include "store/container/digest.h"
#include "store/container/file.h"

namespace moeq::store {

// Of a file of the container, as its writer gives it, read in small pieces. NOT_FOUND, IO, FORMAT, TRUNCATED.
[[nodiscard]] moeq_status digest_of_file(Allocator& allocator, int directory, const char* path, Digest* out,
                                         Report& report, cpu::DigestRun run = cpu::digest_plain);
// The digest that a conversion's report has of a file: of the container as above, of all others as a whole.
[[nodiscard]] moeq_status digest_listed_file(Allocator& allocator, int directory, const char* path, Digest* out,
                                             Report& report, cpu::DigestRun run = cpu::digest_plain);

} // namespace moeq::store
