// Globs over names of tensors and weights: the one matcher. `*` is any run of characters without a dot, `**` any run at all;
// all else is itself.
#pragma once

#include <cstdint>

namespace moeq::text {

constexpr int32_t kGlobStars = 9; // of which a match tells what they stand for

// What the stars of a glob stand for, from its last one to its first. Where a glob has several ways to match, one of them.
struct GlobMatch {
    struct Star {
        int64_t at;            // where it stands in the glob
        int64_t begin, length; // in the name
    };
    int32_t count = 0; // of all stars, also of those that are not told
    Star stars[kGlobStars];
};

// hole: a spelling that stands for what `*` does, "{expert}"; "": there is none. Time is the product of the lengths at most.
bool match_glob(const char* glob, const char* name, int64_t length, const char* hole, GlobMatch* out);
bool glob_matches(const char* glob, const char* name);

} // namespace moeq::text
