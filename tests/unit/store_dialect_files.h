// Checkpoints for the dialects' tests: files written byte by byte here, by nothing of the library.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "formats/spec_text.h"
#include "store/dialects/dialect.h"
#include "store/dialects/recognise.h"
#include "support/store.h"

namespace dialect_test {

using Shape = std::vector<int64_t>;

struct Entry {
    std::string name;
    std::string dtype; // as the container spells it
    Shape shape;
    std::string bytes;
};

inline int64_t product(const Shape& shape)
{
    int64_t count = 1;
    for (const int64_t extent : shape)
        count *= extent;
    return count;
}

inline int64_t size_of(const std::string& dtype)
{
    return dtype == "F32"                      ? 4
           : dtype == "F16" || dtype == "BF16" ? 2
           : dtype == "I32" || dtype == "U32"  ? 4
           : dtype == "I64"                    ? 8
                                               : 1;
}

inline std::string join(const Shape& shape)
{
    std::string text = "[";
    for (const int64_t extent : shape)
        text += (text.size() == 1 ? "" : ",") + std::to_string(extent);
    return text + "]";
}

// A text as a JSON string.
inline std::string quoted(const std::string& text)
{
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += '\\';
        out += c;
    }
    return out + "\"";
}

// One directory with model.safetensors and config.json; gone at the end.
class Files {
public:
    // Zero bytes of the right number.
    Files& add(const std::string& name, const std::string& dtype, const Shape& shape)
    {
        return add(name, dtype, shape, std::string(static_cast<size_t>(product(shape) * size_of(dtype)), '\0'));
    }
    Files& add(const std::string& name, const std::string& dtype, const Shape& shape, const std::string& bytes)
    {
        entries_.push_back({name, dtype, shape, bytes});
        return *this;
    }
    Files& add_text(const std::string& name, const std::string& text)
    {
        return add(name, "U8", {static_cast<int64_t>(text.size())}, text);
    }
    Files& remove(const std::string& name)
    {
        std::erase_if(entries_, [&](const Entry& entry) { return entry.name == name; });
        return *this;
    }
    Entry& entry(const std::string& name)
    {
        for (Entry& entry : entries_)
            if (entry.name == name)
                return entry;
        ADD_FAILURE() << "no entry " << name;
        return entries_.front();
    }
    Files& set_metadata(const std::string& key, const std::string& value)
    {
        metadata_[key] = value;
        return *this;
    }
    Files& set_config(const std::string& json)
    {
        config_ = json;
        return *this;
    }

    // The directory.
    std::string write() const
    {
        std::string header = "{";
        if (!metadata_.empty()) {
            header += "\"__metadata__\":{";
            for (const auto& [key, value] : metadata_)
                header += (header.back() == '{' ? "" : ",") + quoted(key) + ":" + quoted(value);
            header += "}";
        }
        int64_t offset = 0;
        std::string data;
        for (const Entry& entry : entries_) {
            const int64_t end = offset + static_cast<int64_t>(entry.bytes.size());
            header += (header.size() == 1 ? "" : ",") + quoted(entry.name) + ":{\"dtype\":\"" + entry.dtype +
                      "\",\"shape\":" + join(entry.shape) + ",\"data_offsets\":" + join({offset, end}) + "}";
            data += entry.bytes;
            offset = end;
        }
        header += "}";
        header.resize((header.size() + 7) / 8 * 8, ' ');
        folder_.write("model.safetensors", moeq_test::container(header, data));
        if (!config_.empty())
            folder_.write("config.json", config_);
        return folder_.path();
    }

private:
    moeq_test::TemporaryFolder folder_;
    std::vector<Entry> entries_;
    std::map<std::string, std::string> metadata_;
    std::string config_;
};

// What recognition made of some files.
struct Recognised {
    Recognised() : allocator(nullptr, nullptr, nullptr), checkpoint(allocator), weights(allocator) {}

    moeq_status open(const Files& files)
    {
        moeq::Report report("open", &error);
        status = checkpoint.open(files.write().c_str(), moeq::store::kHeaderLimit, false, report);
        if (status == MOEQ_OK)
            status = moeq::store::recognise_weights(checkpoint, nullptr, 3, &weights, report);
        return status;
    }
    const moeq::store::Weight* find(const std::string& name) const
    {
        for (const moeq::store::Weight& weight : weights.weights)
            if (std::string(weight.name, static_cast<size_t>(weight.name_length)) == name)
                return &weight;
        return nullptr;
    }
    // Name of the tensor that a component of a weight is in; "": none.
    std::string tensor(const moeq::store::Weight& weight, int32_t component) const
    {
        return weight.tensors[component] < 0 ? "" : checkpoint.tensor(weight.tensors[component]).entry.name;
    }
    std::string spec(const moeq::store::Weight& weight) const
    {
        char text[MOEQ_SPEC_TEXT];
        moeq::Report report("spec", nullptr);
        return moeq::print_spec(weight.spec, text, report) == MOEQ_OK ? text : "?";
    }

    moeq::Allocator allocator;
    moeq::store::Checkpoint checkpoint;
    moeq::store::Weights weights;
    moeq_error error{};
    moeq_status status = MOEQ_OK;
};

// Opening is refused with a status, a class, and parts of the message in this order.
inline void expect_refused(const Files& files, moeq_status status, const std::string& class_id,
                           const std::vector<std::string>& parts)
{
    Recognised got;
    EXPECT_EQ(got.open(files), status) << got.error.message;
    EXPECT_EQ(got.error.class_id, class_id) << got.error.message;
    const std::string message = got.error.message;
    size_t from = 0;
    for (const std::string& part : parts) {
        const size_t at = message.find(part, from);
        EXPECT_NE(at, std::string::npos) << "no '" << part << "' in: " << message;
        from = at == std::string::npos ? from : at + part.size();
    }
    EXPECT_NE(message.find("want"), std::string::npos) << message;
}

} // namespace dialect_test
