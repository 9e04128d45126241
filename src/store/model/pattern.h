// Patterns of weight names. A name is segments between dots; a pattern is compared with all of it, segment by segment:
//     model.layers.*.mlp.experts.{expert}.gate_proj.weight
// `*` stands for one segment, `{expert}` for the decimal index of an expert, which may have text around it in its segment
// (`expert_{expert}`), `**`, as the first segment only, for one or more.
#pragma once

#include "core/memory.h"
#include "core/report.h"

namespace moeq::store {

constexpr int32_t kPatternWildcards = 8;

struct PatternMatch {
    struct Text {
        const char* begin;
        int64_t length;
    };
    int64_t expert = -1; // -1: the pattern has no {expert}
    int32_t count = 0;   // of wildcards
    Text wildcards[kPatternWildcards];
};

// What makes a text a pattern: NULL, or what is wrong with it.
const char* pattern_fault(const char* pattern);
// The same of a text whose wildcards are filled with those of a pattern: it has as many, in the same order.
const char* template_fault(const char* text, const char* pattern);

bool match_pattern(const char* pattern, const char* name, int64_t length, PatternMatch* out);

// Appends a text with its wildcards, and {expert} where it has one, filled. False: out of memory.
[[nodiscard]] bool append_filled(const char* text, const PatternMatch& match, Array<char>* out);

} // namespace moeq::store
