#include "store/model/model_config.h"

#include <algorithm>
#include <cstring>

#include "core/text.h"

namespace moeq::store {

namespace {

constexpr int64_t kMostExperts = 1'000'000; // that config.json is believed about; models have some hundreds
constexpr int64_t kMostDigits = 9;          // of a layer's number

bool get_count(const text::JsonValue& value, int64_t* out)
{
    return value.get_integer(out) && *out > 0 && *out <= kMostExperts;
}

// The count of one kind: a number for all kinds, or an array with a number for each.
bool get_count(const text::JsonValue& value, int32_t kind, int64_t* out)
{
    if (!value.is_array())
        return get_count(value, out);
    text::JsonMember m = value.first();
    for (int32_t i = 0; i < kind && !m.done(); ++i)
        m = m.next();
    return !m.done() && get_count(m.value(), out);
}

int64_t count_in(const text::JsonValue& part, int32_t kind)
{
    for (const text::JsonValue& holder : {part, part.find("ffn_config")})
        for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"}) {
            int64_t count = -1;
            if (get_count(holder.find(key), kind, &count))
                return count;
        }
    return -1;
}

// The number that all of a segment is; -1: it is none.
int64_t number_of(const char* text, int64_t length)
{
    if (length == 0 || length > kMostDigits)
        return -1;
    int64_t value = 0;
    for (int64_t i = 0; i < length; ++i) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

int64_t segment_length(const char* name, int64_t length)
{
    const void* dot = std::memchr(name, '.', static_cast<uint64_t>(length));
    return dot == nullptr ? length : static_cast<const char*>(dot) - name;
}

// The first segment that is a number; -1: none.
int64_t layer_of(const char* name, int64_t length)
{
    for (int64_t at = 0; at < length;) {
        const int64_t segment = segment_length(name + at, length - at);
        const int64_t number = number_of(name + at, segment);
        if (number >= 0)
            return number;
        at += segment + 1;
    }
    return -1;
}

} // namespace

text::JsonValue config_of_part(const text::JsonValue& config)
{
    for (const char* part : {"thinker_config", "text_config", "llm_config", "language_config"}) {
        const text::JsonValue inner = config.find(part);
        if (inner.is_object())
            return inner;
    }
    return text::JsonValue();
}

text::JsonValue config_of_text(const text::JsonValue& config)
{
    text::JsonValue text = config;
    for (text::JsonValue part = config_of_part(text); !part.missing(); part = config_of_part(part))
        text = part;
    return text;
}

int64_t config_hidden_size(const text::JsonValue& config)
{
    int64_t size = -1;
    return config_of_text(config).find("hidden_size").get_integer(&size) && size > 0 ? size : -1;
}

int64_t config_expert_count(const text::JsonValue& config, int32_t kind)
{
    return count_in(config_of_text(config), kind);
}

bool ExpertCounts::read(const text::JsonValue& config)
{
    static constexpr const char kEnding[] = "_config";
    constexpr int64_t kEndingLength = sizeof kEnding - 1;
    const text::JsonValue text = config_of_text(config);
    if (!add({"", 0, false, count_in(text, 0), 0, 0}, text))
        return false;
    for (text::JsonMember m = config.first(); !m.done() && tower_count_ < kTowers; m = m.next()) {
        const int64_t length = m.name().length() - kEndingLength;
        if (length <= 0 || !m.value().is_object() || !ends_with(m.name().text(), m.name().length(), kEnding))
            continue;
        // "talker.model...", but "vision_encoder.blocks...", whose layers alone say how many there are.
        const bool vision = m.name().equals("vision_config");
        const text::JsonValue part = vision ? m.value() : config_of_text(m.value());
        if (!add({m.name().text(), length, !vision, vision ? -1 : count_in(part, 0), 0, 0}, part))
            return false;
    }
    return true;
}

bool ExpertCounts::add(const Tower& tower, const text::JsonValue& part)
{
    Tower& added = towers_[tower_count_++];
    added = tower;
    added.first_layer = layers_.size();
    if (!read_layers(part))
        return false;
    added.layer_count = layers_.size() - added.first_layer;
    std::sort(layers_.begin() + added.first_layer, layers_.end(),
              [](const Layer& a, const Layer& b) { return a.number < b.number; });
    return true;
}

// {"3": {"num_local_experts": 8}}, or an array with a number for each layer.
bool ExpertCounts::read_layers(const text::JsonValue& part)
{
    const text::JsonValue by_number = part.find("per_layer_config");
    if (by_number.is_object()) {
        for (text::JsonMember m = by_number.first(); !m.done(); m = m.next()) {
            const Layer layer{number_of(m.name().text(), m.name().length()), count_in(m.value(), 0)};
            if (layer.number >= 0 && layer.count > 0 && !layers_.append(layer))
                return false;
        }
        return true;
    }
    int64_t number = 0;
    for (text::JsonMember m = part.find("pyramid_num_routed").first(); !m.done(); m = m.next(), ++number) {
        Layer layer{number, -1};
        if (get_count(m.value(), &layer.count) && !layers_.append(layer))
            return false;
    }
    return true;
}

const ExpertCounts::Tower& ExpertCounts::tower_of(const char* name, int64_t length) const
{
    const int64_t segment = segment_length(name, length);
    for (int32_t i = 1; i < tower_count_; ++i) {
        const Tower& tower = towers_[i];
        if ((tower.whole ? segment == tower.length : segment >= tower.length) &&
            std::memcmp(name, tower.prefix, static_cast<uint64_t>(tower.length)) == 0)
            return tower;
    }
    return towers_[0];
}

int64_t ExpertCounts::find(const char* name, int64_t length) const
{
    if (tower_count_ == 0)
        return -1;
    const Tower& tower = tower_of(name, length);
    const Layer* const begin = layers_.begin() + tower.first_layer;
    const Layer* const end = begin + tower.layer_count;
    const int64_t number = tower.layer_count == 0 ? -1 : layer_of(name, length);
    const Layer* layer =
        std::lower_bound(begin, end, number, [](const Layer& a, int64_t wanted) { return a.number < wanted; });
    return layer != end && layer->number == number ? layer->count : tower.count;
}

} // namespace moeq::store
