// What must hold for any bytes whatever that are read as a file of the container: a status that is allowed, and if they are
// accepted, tensors inside of the file whose header can be written again and then says the same.
#pragma once

#include <cstring>
#include <string>

#include "store/container/safetensors.h"
#include "support/store.h"

namespace moeq_test {

struct Judged {
    moeq_status status = MOEQ_OK;
    std::string class_id;
    std::string message;
    std::string problem; // "": all is as it must be
};

inline std::string write_header(const moeq::store::FileHeader& header, moeq::Allocator& allocator)
{
    moeq::Array<char> out(allocator);
    moeq::text::JsonWriter writer(out);
    writer.begin_object();
    if (!header.metadata().missing())
        writer.key("__metadata__").copy(header.metadata());
    for (const moeq::store::FileEntry& entry : header.entries) {
        writer.key(entry.name, entry.name_length).begin_object();
        writer.key("dtype").string(moeq::store::container_dtype_name(entry.dtype)).key("shape").begin_array();
        for (int32_t i = 0; i < entry.ndim; ++i)
            writer.integer(entry.shape[i]);
        writer.end_array().key("data_offsets").begin_array();
        writer.integer(entry.offset - header.data_offset).integer(entry.offset - header.data_offset + entry.bytes);
        writer.end_array().end_object();
    }
    writer.end_object();
    return writer.ok() ? std::string(out.data(), static_cast<size_t>(out.size())) : "";
}

inline std::string describe(const moeq::store::FileHeader& header)
{
    std::string text;
    for (const moeq::store::FileEntry& entry : header.entries) {
        text.append(entry.name, static_cast<size_t>(entry.name_length)).append(" ");
        text.append(std::to_string(entry.dtype)).append(":");
        for (int32_t i = 0; i < entry.ndim; ++i)
            text.append(" ").append(std::to_string(entry.shape[i]));
        text.append(" @").append(std::to_string(entry.offset - header.data_offset));
        text.append("+").append(std::to_string(entry.bytes)).append("\n");
    }
    return text;
}

inline bool is_allowed(moeq_status status, const std::string& class_id)
{
    if (status == MOEQ_OK)
        return class_id.empty();
    if (class_id.size() != 3 || class_id[0] != 'F')
        return false;
    return status == MOEQ_ERROR_FORMAT || status == MOEQ_ERROR_TRUNCATED || status == MOEQ_ERROR_UNSUPPORTED ||
           status == MOEQ_ERROR_LIMIT;
}

inline std::string judge_accepted(const moeq::store::FileHeader& header, int64_t file_size, moeq::Allocator& allocator)
{
    int64_t end = header.data_offset;
    for (const moeq::store::FileEntry& entry : header.entries) {
        if (entry.offset != end || entry.bytes < 0 || entry.bytes > file_size - entry.offset)
            return "a tensor's range is not inside of the file";
        if (entry.name[entry.name_length] != '\0' || std::strlen(entry.name) != static_cast<size_t>(entry.name_length))
            return "a name is not ended by NUL";
        int64_t bytes = 0;
        if (!moeq::store::tensor_bytes(entry.dtype, entry.ndim, entry.shape, &bytes) || bytes != entry.bytes)
            return "a tensor has another size than its shape";
        end += entry.bytes;
    }
    if (end != file_size)
        return "the tensors do not fill the file";

    const std::string text = write_header(header, allocator);
    const std::string bytes = length_prefix(text.size()) + text;
    moeq::store::FileHeader again(allocator);
    Outcome outcome;
    const int64_t size = static_cast<int64_t>(bytes.size());
    // Written anew it may be longer, as names were spelled with fewer separators: no limit here.
    if (moeq::store::parse_header(bytes.data(), size, size + file_size - header.data_offset, moeq::text::kJsonBytes,
                                  &again, outcome.report) != MOEQ_OK)
        return "what was accepted is refused when written again: " + outcome.message();
    if (describe(again) != describe(header))
        return "written again, it says something else";
    if (write_header(again, allocator) != text)
        return "written again, it is written otherwise";
    return "";
}

inline Judged judge_header(const char* bytes, int64_t size, int64_t file_size, int64_t limit = 1 << 20)
{
    CountedMemory memory;
    Judged judged;
    {
        moeq::store::FileHeader header(memory.allocator);
        Outcome outcome;
        judged.status = moeq::store::parse_header(bytes, size, file_size, limit, &header, outcome.report);
        judged.class_id = outcome.class_id();
        judged.message = outcome.message();
        if (memory.allocator.peak() > 4 * size + (1 << 20))
            judged.problem = "it takes too much memory";
        else if (!is_allowed(judged.status, judged.class_id))
            judged.problem = "it gives status " + std::to_string(judged.status) + ", class \"" + judged.class_id + "\"";
        else if (judged.status == MOEQ_OK)
            judged.problem = judge_accepted(header, file_size, memory.allocator);
        else if (header.entries.size() != 0 || !header.metadata().missing())
            judged.problem = "something is left of a header that was refused";
    }
    if (memory.allocator.live() != 0)
        judged.problem = "it keeps memory";
    return judged;
}

} // namespace moeq_test
