// Checkpoints of one layer of experts, in the forms that files have, and readers of them.
#pragma once

#include "support/api.h"
#include "support/checkpoint_files.h"

namespace moeq_test {

struct DestroyReader {
    void operator()(moeq_reader* reader) const { moeq_reader_destroy(reader); }
};
using Reader = std::unique_ptr<moeq_reader, DestroyReader>;
struct DestroyBlob {
    void operator()(moeq_blob* blob) const { moeq_blob_destroy(blob); }
};
using Blob = std::unique_ptr<moeq_blob, DestroyBlob>;

inline Reader open_reader(const Context& context, const std::string& path, int32_t flags = 0,
                          const char* patterns = nullptr)
{
    auto options = sized<moeq_reader_options>();
    options.flags = flags;
    options.patterns = patterns;
    moeq_reader* out = nullptr;
    MOEQ_EXPECT_OK(moeq_reader_open(context.get(), path.c_str(), &options, &out, &ok));
    return Reader(out);
}

inline int64_t stack_index(const Reader& reader, const std::string& name)
{
    int64_t tensor = -2;
    int64_t stack = -2;
    MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), name.c_str(), &tensor, &stack, &ok));
    return stack;
}

inline QTensor load(const Reader& reader, int64_t stack, const moeq_load_options& options)
{
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_reader_load(reader.get(), stack, &options, nullptr, &out, &ok));
    return QTensor(out);
}

inline QTensor load(const Reader& reader, int64_t stack, const moeq_spec* spec = nullptr)
{
    auto options = sized<moeq_load_options>();
    options.spec = spec;
    return load(reader, stack, options);
}

enum class Form { kPerExpert, kFused, kTransposed };
inline const char* form_name(Form form)
{
    return form == Form::kPerExpert ? "per_expert" : form == Form::kFused ? "fused" : "transposed";
}

constexpr const char* kGateUp = "model.layers.0.mlp.experts.gate_up_proj";
constexpr const char* kDown = "model.layers.0.mlp.experts.down_proj";

// gate_up [E, 2I, H] (transposed: [E, H, 2I], interleaved) and down, with the tensors in two files whose order is not that
// of experts.
class ExpertLayer {
public:
    ExpertLayer(Form form, int32_t dtype, int64_t experts, int64_t inner, int64_t hidden)
        : form_(form), inner_(inner), gate_up(dtype, form == Form::kTransposed ? Shape{experts, hidden, 2 * inner}
                                                                               : Shape{experts, 2 * inner, hidden}),
          down(dtype, form == Form::kTransposed ? Shape{experts, inner, hidden} : Shape{experts, hidden, inner}),
          experts_(experts), dtype_(dtype)
    {
        gate_up.fill(3);
        down.fill(4);
    }

    std::string config() const
    {
        return std::string("{\"model_type\": \"") + (form_ == Form::kTransposed ? "gpt_oss" : "qwen3_moe") +
               "\", \"num_local_experts\": " + std::to_string(experts_) + "}";
    }
    int32_t layout() const
    {
        return form_ == Form::kTransposed ? MOEQ_LAYOUT_GATE_UP_INTERLEAVED : MOEQ_LAYOUT_GATE_UP;
    }
    int32_t axis() const { return form_ == Form::kTransposed ? -2 : -1; }

    void write(const TemporaryFolder& folder)
    {
        std::vector<ContainerFile> files(2);
        HostTensor norm(MOEQ_DTYPE_BF16, {16});
        norm.fill(9);
        files[0].add("model.norm.weight", norm);
        if (form_ == Form::kPerExpert) {
            const std::string stem = "model.layers.0.mlp.experts.";
            for (int64_t e = experts_; e-- > 0;) { // backwards: file order is not expert order
                const std::string of = stem + std::to_string(e);
                const Shape half{inner_, gate_up.shape()[2]};
                files[1].add(of + ".up_proj.weight", dtype_, half, take_rows(gate_up, e, inner_, 2 * inner_));
                files[0].add(of + ".gate_proj.weight", dtype_, half, take_rows(gate_up, e, 0, inner_));
                files[0].add(of + ".down_proj.weight", dtype_, {down.shape()[1], down.shape()[2]},
                             take_rows(down, e, 0, down.shape()[1]));
            }
        } else {
            files[1].add(kGateUp, gate_up);
            files[0].add(kDown, down);
        }
        write_sharded(folder, files);
        folder.write("config.json", config());
    }

private:
    Form form_;
    int64_t inner_;

public:
    HostTensor gate_up;
    HostTensor down;

private:
    int64_t experts_;
    int32_t dtype_;
};

} // namespace moeq_test
