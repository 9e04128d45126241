#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "random/source.h"

namespace moeq_random {

namespace {

[[noreturn]] void stop(const char* what, const std::string& path)
{
    std::fprintf(stderr, "%s %s: ", what, path.c_str());
    std::perror("");
    std::exit(2);
}

std::string container(const Tensor* begin, const Tensor* end, const std::string& metadata)
{
    std::string header = "{";
    if (!metadata.empty())
        header += "\"__metadata__\": " + metadata;
    size_t offset = 0;
    for (const Tensor* tensor = begin; tensor != end; ++tensor) {
        header += header.size() > 1 ? ", \"" : "\"";
        header += tensor->name + "\": {\"dtype\": \"" + tensor->dtype + "\", \"shape\": [";
        for (size_t i = 0; i < tensor->shape.size(); ++i)
            header += (i == 0 ? "" : ", ") + std::to_string(tensor->shape[i]);
        header += "], \"data_offsets\": [" + std::to_string(offset) + ", ";
        offset += tensor->bytes.size();
        header += std::to_string(offset) + "]}";
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::string out;
    for (int i = 0; i < 8; ++i)
        out += static_cast<char>(header.size() >> 8 * i & 0xFF);
    out += header;
    for (const Tensor* tensor = begin; tensor != end; ++tensor)
        out += tensor->bytes;
    return out;
}

} // namespace

std::string read_text(const std::string& path)
{
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return "";
    struct stat status = {};
    ::fstat(file, &status);
    std::string out(static_cast<size_t>(status.st_size), '\0');
    const ssize_t count = ::read(file, out.data(), out.size());
    ::close(file);
    if (count != status.st_size)
        stop("cannot read", path);
    return out;
}

void write_text(const std::string& path, const std::string& bytes)
{
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ::write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
        stop("cannot write", path);
    ::close(file);
}

std::string write_source(const Source& source, const std::string& folder)
{
    if (::mkdir(folder.c_str(), 0700) != 0)
        stop("cannot make", folder);
    if (!source.config.empty())
        write_text(folder + "/config.json", source.config);
    const Tensor* begin = source.tensors.data();
    const size_t count = source.tensors.size();
    if (source.files == 1) {
        write_text(folder + "/model.safetensors", container(begin, begin + count, source.metadata));
        return source.by_file ? folder + "/model.safetensors" : folder;
    }
    std::string map;
    const auto files = static_cast<size_t>(source.files);
    for (size_t f = 0; f < files; ++f) {
        const size_t first = count * f / files, last = count * (f + 1) / files;
        if (first == last)
            continue; // the index names no empty file
        const std::string name = "shard-" + std::to_string(f) + ".safetensors";
        write_text(folder + "/" + name, container(begin + first, begin + last, source.metadata));
        const size_t left_out = !source.index_is_short || f + 1 != files ? 0 : last - first > 1 ? 1 : last - first;
        for (size_t i = first; i < last - left_out; ++i)
            map += (map.empty() ? "\"" : ", \"") + begin[i].name + "\": \"" + name + "\"";
    }
    write_text(folder + "/model.safetensors.index.json", "{\"weight_map\": {" + map + "}}");
    return folder;
}

void add_shard(const std::string& folder, const std::vector<Tensor>& tensors)
{
    const std::string path = folder + "/model.safetensors.index.json";
    std::string index = read_text(path);
    index.resize(index.rfind('}')); // of the whole
    index.resize(index.rfind('}')); // of the map
    bool empty = index.back() == '{';
    for (const Tensor& tensor : tensors) {
        index += (empty ? "\"" : ", \"") + tensor.name + "\": \"left.safetensors\"";
        empty = false;
    }
    write_text(folder + "/left.safetensors", container(tensors.data(), tensors.data() + tensors.size(), ""));
    write_text(path, index + "}}");
}

} // namespace moeq_random
