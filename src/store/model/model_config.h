// What config.json says about a model's experts. All of it is a hint: names and shapes of tensors are the facts.
#pragma once

#include "core/memory.h"
#include "text/json.h"

namespace moeq::store {

// The part of config.json, or of a part of it, that the text model is in; missing: it has none.
text::JsonValue config_of_part(const text::JsonValue& config);
// The text model's part of config.json; the whole where it has no parts.
text::JsonValue config_of_text(const text::JsonValue& config);

// Of the text model; -1 where config.json does not say it. Where it has several kinds of experts, `kind` is which one's count.
int64_t config_hidden_size(const text::JsonValue& config);
int64_t config_expert_count(const text::JsonValue& config, int32_t kind = 0);

// How many experts the stacks of a checkpoint have. Towers that are no text model, and single layers, may have a count of their
// own.
class ExpertCounts {
public:
    explicit ExpertCounts(Allocator& allocator) : layers_(allocator) {}

    // False: out of memory.
    [[nodiscard]] bool read(const text::JsonValue& config);
    // Of a stack of this name; -1: config.json does not say it.
    int64_t find(const char* name, int64_t length) const;

private:
    struct Tower {
        const char* prefix; // of names, in the config; "" for the text model's
        int64_t length;
        bool whole; // the prefix is a whole segment
        int64_t count;
        int64_t first_layer, layer_count; // in layers_
    };
    struct Layer {
        int64_t number;
        int64_t count;
    };
    [[nodiscard]] bool add(const Tower& tower, const text::JsonValue& part);
    [[nodiscard]] bool read_layers(const text::JsonValue& part);
    const Tower& tower_of(const char* name, int64_t length) const;

    static constexpr int32_t kTowers = 8;
    Tower towers_[kTowers] = {};
    int32_t tower_count_ = 0;
    Array<Layer> layers_; // of each tower, by number
};

} // namespace moeq::store
