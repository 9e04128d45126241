// Checkpoints that a test makes itself: containers written by hand, and the index that names them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "support/host_tensor.h"
#include "support/temporary_folder.h"

namespace moeq_test {

// "BF16"
inline std::string container_name(int32_t dtype)
{
    static const std::map<int32_t, std::string> names = {
        {MOEQ_DTYPE_FP32, "F32"},         {MOEQ_DTYPE_FP16, "F16"},  {MOEQ_DTYPE_BF16, "BF16"},
        {MOEQ_DTYPE_FP64, "F64"},         {MOEQ_DTYPE_INT8, "I8"},   {MOEQ_DTYPE_UINT8, "U8"},
        {MOEQ_DTYPE_INT32, "I32"},        {MOEQ_DTYPE_INT64, "I64"}, {MOEQ_DTYPE_FP8_E4M3FN, "F8_E4M3"},
        {MOEQ_DTYPE_FP8_E5M2, "F8_E5M2"}, {MOEQ_DTYPE_BOOL, "BOOL"}};
    return names.at(dtype);
}

// One file of the container, in memory until it is written. Tensors lie in the order in which they were added.
class ContainerFile {
public:
    void add(const std::string& name, int32_t dtype, const Shape& shape, const void* bytes, size_t size)
    {
        const auto* from = static_cast<const char*>(bytes);
        header_ += (header_.empty() ? "\"" : ", \"") + name + "\": {\"dtype\": \"" + container_name(dtype) +
                   "\", \"shape\": [";
        for (size_t i = 0; i < shape.size(); ++i)
            header_ += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
        header_ +=
            "], \"data_offsets\": [" + std::to_string(data_.size()) + ", " + std::to_string(data_.size() + size) + "]}";
        data_.append(from, size);
        names.push_back(name);
    }
    void add(const std::string& name, int32_t dtype, const Shape& shape, const Bytes& bytes)
    {
        add(name, dtype, shape, bytes.data(), bytes.size());
    }
    void add(const std::string& name, HostTensor& tensor)
    {
        const DLDataType type = tensor.plain().dtype;
        add(name, type.code | type.bits << 8 | type.lanes << 16, tensor.shape(), tensor.memory());
    }
    // {"key": "value"} as JSON text.
    void set_metadata(const std::string& json) { metadata_ = json; }

    std::string text() const
    {
        std::string header = "{";
        if (!metadata_.empty())
            header += "\"__metadata__\": " + metadata_ + (header_.empty() ? "" : ", ");
        header += header_ + "}";
        header.resize((header.size() + 7) / 8 * 8, ' ');
        std::string out;
        for (int i = 0; i < 8; ++i)
            out += static_cast<char>(header.size() >> 8 * i & 0xFF);
        return out + header + data_;
    }

    std::vector<std::string> names;

private:
    std::string header_;
    std::string data_;
    std::string metadata_;
};

// Writes files with the index that names them.
inline void write_sharded(const TemporaryFolder& folder, const std::vector<ContainerFile>& files)
{
    std::string map;
    for (size_t i = 0; i < files.size(); ++i) {
        char name[64];
        std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, files.size());
        folder.write(name, files[i].text());
        for (const std::string& tensor : files[i].names)
            map += (map.empty() ? "\"" : ", \"") + tensor + "\": \"" + name + "\"";
    }
    folder.write("model.safetensors.index.json", "{\"metadata\": {}, \"weight_map\": {" + map + "}}");
}

// A part of a row-major [.., R, C] matrix, as bytes.
inline Bytes take_rows(HostTensor& tensor, int64_t expert, int64_t row_begin, int64_t row_end)
{
    const Shape& shape = tensor.shape();
    const int64_t rows = shape[shape.size() - 2];
    const auto row_bytes = static_cast<int64_t>(tensor.memory().size()) / (count_of(shape) / shape.back());
    const auto* from = tensor.memory().data() + (expert * rows + row_begin) * row_bytes;
    return Bytes(from, from + (row_end - row_begin) * row_bytes);
}

} // namespace moeq_test
