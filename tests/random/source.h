// Checkpoints as a seed makes them: names, shapes, forms of experts, leftovers of every dialect, one file or several.
#pragma once

#include <string>
#include <vector>

#include "random/dice.h"

namespace moeq_random {

struct Tensor {
    std::string name;
    const char* dtype; // as the container spells it
    std::vector<int64_t> shape;
    std::string bytes;
};

// A name that leftovers are made of, and the shape of its tensor; empty where it is not known.
struct Named {
    std::string name;
    std::vector<int64_t> shape;
};

// Files of one directory, in memory.
struct Source {
    std::vector<Tensor> tensors;
    std::string config;          // empty: no config.json
    std::string metadata;        // empty: none
    int files = 1;               // 1: model.safetensors without an index
    bool by_file = false;        // the path that is opened is the file, not the directory
    std::string patterns;        // empty: none
    bool index_is_short = false; // it leaves out the last tensor of a file that it names, or the last file
};

Source make_source(Dice& dice);
// Tensors that another project or another conversion might have left beside these.
std::vector<Tensor> make_leftovers(Dice& dice, const std::vector<Named>& names);
// Writes the directory, and returns the path to open.
std::string write_source(const Source& source, const std::string& folder);
// Tensors that come into a sharded checkpoint that is there: a file more, and places in the index.
void add_shard(const std::string& folder, const std::vector<Tensor>& tensors);

// A whole small file.
std::string read_text(const std::string& path);
void write_text(const std::string& path, const std::string& bytes);

} // namespace moeq_random
