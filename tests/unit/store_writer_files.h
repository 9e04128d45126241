// Files in the making, and what is in them when they are done: for the tests of the writer.
#pragma once

#include "store/write/safetensors_writer.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "store/write/digest_chunks.h"
#include "store/write/file_digest.h"
#include "support/store.h"

namespace moeq_test {

using moeq::store::Digest;
using moeq::store::FileEntry;
using moeq::store::FileHeader;
using moeq::store::SafetensorsWriter;
using Shape = std::vector<int64_t>;

inline std::string random_bytes(int64_t count, uint32_t seed = 1)
{
    std::mt19937 random(seed);
    std::string bytes(static_cast<size_t>(count), '\0');
    for (char& byte : bytes)
        byte = static_cast<char>(random());
    return bytes;
}

// A file in the making, with calls that must succeed unless they are asked for their status.
class Making {
public:
    explicit Making(int32_t dialect = MOEQ_DIALECT_NATIVE, const char* metadata = nullptr)
    {
        Outcome outcome;
        EXPECT_EQ(writer.create(AT_FDCWD, path().c_str(), *moeq::store::find_dialect(dialect), metadata, false,
                                outcome.report),
                  MOEQ_OK)
            << outcome.message();
    }

    std::string path() const { return folder.path("model.safetensors"); }
    void declare(const std::string& name, int32_t dtype, const Shape& shape)
    {
        Outcome outcome;
        EXPECT_EQ(writer.declare(name.c_str(), dtype, static_cast<int32_t>(shape.size()), shape.data(), outcome.report),
                  MOEQ_OK)
            << outcome.message();
    }
    void put(const std::string& name, const std::string& bytes, int64_t begin = 0)
    {
        Outcome outcome;
        EXPECT_EQ(writer.put(name.c_str(), begin, bytes.data(), static_cast<int64_t>(bytes.size()), outcome.report),
                  MOEQ_OK)
            << outcome.message();
    }
    // The file's bytes.
    std::string commit()
    {
        Outcome outcome;
        EXPECT_EQ(writer.commit(outcome.report), MOEQ_OK) << outcome.message();
        const std::string bytes = contents(path());
        EXPECT_EQ(writer.bytes(), static_cast<int64_t>(bytes.size()));
        Digest digest;
        EXPECT_EQ(digest_of_file(memory.allocator, AT_FDCWD, path().c_str(), &digest, outcome.report), MOEQ_OK)
            << outcome.message();
        EXPECT_TRUE(digest == writer.digest());
        return bytes;
    }

    TemporaryFolder folder;
    CountedMemory memory;
    SafetensorsWriter writer{memory.allocator};
};

struct Parsed {
    explicit Parsed(const std::string& file) : header(memory.allocator)
    {
        Outcome outcome;
        EXPECT_EQ(
            moeq::store::parse_header(file.data(), static_cast<int64_t>(file.size()), static_cast<int64_t>(file.size()),
                                      moeq::store::kHeaderLimit, &header, outcome.report),
            MOEQ_OK)
            << outcome.message();
    }
    const FileEntry& operator[](const std::string& name) const
    {
        for (const FileEntry& entry : header.entries)
            if (entry.name == name)
                return entry;
        ADD_FAILURE() << "no " << name;
        return header.entries[0];
    }
    std::string bytes(const std::string& file, const std::string& name) const
    {
        const FileEntry& entry = (*this)[name];
        return file.substr(static_cast<size_t>(entry.offset), static_cast<size_t>(entry.bytes));
    }

    CountedMemory memory;
    FileHeader header;
};

} // namespace moeq_test
