// Kernels over rectangles, with a scale for each column or tile: the bytes of the scalar reference, whatever the distance of
// rows, and nothing between them written.
#include "unit/cpu_tiers.h"

namespace moeq {
namespace {

struct Shape {
    int64_t rows, columns, tile;
    bool lines; // rows begin at borders of cache lines
};

// Of elements and codes, in bytes; rows may follow each other, or have something between them.
int64_t pitch_of(const Shape& shape, int64_t bytes, int64_t gap)
{
    const int64_t least = shape.columns * bytes;
    return shape.lines ? (least + 63) / 64 * 64 : least + gap * bytes;
}

class CpuTierRectangles : public CpuTiers {
protected:
    std::vector<Shape> shapes()
    {
        std::vector<Shape> all;
        for (const int64_t columns : {0, 1, 15, 63, 64, 65, 127, 128, 129, 191, 192, 256, 300, 1024, 1153})
            for (const int64_t tile : {1, 5, 32, 64, 100, 128, 192, 1024})
                for (const bool lines : {false, true})
                    if (tile > 5 || columns < 200)
                        all.push_back({1 + random_below(20), columns, tile, lines});
        all.push_back({0, 64, 64, true});
        all.push_back({3, 70 * 64 + 5, 64, true}); // more tiles than are kept at hand
        all.push_back({130, 4 * 128, 128, true});
        return all;
    }

    cpu::Rectangle rectangle(const Shape& shape, int32_t type)
    {
        return {.rows = shape.rows,
                .columns = shape.columns,
                .element_pitch = pitch_of(shape, float_type_bytes(type), random_below(3)),
                .code_pitch = pitch_of(shape, 1, random_below(3))};
    }

    // Mostly ones that come from an ordinary amax, which kernels may have a shorter way for.
    Fenced some_multipliers(const Format& format, int64_t count)
    {
        const std::vector<codec::Multiplier> all = multipliers(format);
        const bool ordinary = random_below(2) == 0;
        const Fenced some(count * 8);
        for (int64_t i = 0; i < count; ++i)
            some.as<codec::Multiplier>()[i] =
                ordinary || random_below(200) != 0
                    ? format.multiplier(0.5f + std::abs(normal_(random_)), MOEQ_PROFILE_MOEQ)
                    : all[static_cast<size_t>(random_bits()) % all.size()];
        return some;
    }

    Fenced some_scales(int64_t count)
    {
        const std::vector<float> all = scales();
        const bool ordinary = random_below(2) == 0;
        const Fenced some(count * 4);
        for (int64_t i = 0; i < count; ++i)
            some.as<float>()[i] = ordinary || random_below(100) != 0
                                      ? 0.01f + std::abs(normal_(random_))
                                      : all[static_cast<size_t>(random_bits()) % all.size()];
        return some;
    }

    Values some_values()
    {
        return random_below(2) == 0 ? Values::kOrdinary : kAllValues[static_cast<size_t>(random_below(6))];
    }

    // Codes as the library writes them, or any.
    void fill_codes(const Fenced& codes, const Format& format)
    {
        const bool own = random_below(2) == 0;
        for (size_t i = 0; i < codes.size(); ++i) {
            const uint8_t code = static_cast<uint8_t>(random_bits());
            codes.data()[i] = own && (code == 0x80 || !std::isfinite(format.code_value(code))) ? 1 : code;
        }
    }

    // Ordinary ones and any others, such that each follows each.
    Fenced mixed_scales(int64_t count)
    {
        const std::vector<float> all = scales();
        const Fenced mixed(count * 4);
        for (int64_t i = 0; i < count; ++i)
            mixed.as<float>()[i] = random_below(2) == 0 ? 0.01f + std::abs(normal_(random_))
                                                        : all[static_cast<size_t>(random_bits()) % all.size()];
        return mixed;
    }

    // The scale of every element of a destination, those between rows too.
    static std::vector<float> spread_rows(const float* scales, const cpu::Rectangle& area, int64_t scale_pitch,
                                          int64_t bytes)
    {
        std::vector<float> each;
        for (int64_t r = 0; r < area.rows; ++r)
            each.insert(each.end(), static_cast<size_t>(area.element_pitch / bytes), scales[r * scale_pitch]);
        return each;
    }
    static std::vector<float> spread(const float* scales, const cpu::Rectangle& area, int64_t tile, int64_t bytes)
    {
        std::vector<float> each(static_cast<size_t>(area.rows * area.element_pitch / bytes), 1.0f);
        for (int64_t r = 0; r < area.rows; ++r)
            for (int64_t c = 0; c < area.columns; ++c)
                each[static_cast<size_t>(r * area.element_pitch / bytes + c)] = scales[c / tile];
        return each;
    }
};

TEST_P(CpuTierRectangles, Amax)
{
    for (const int32_t type : kTypes) {
        for (const Shape& shape : shapes()) {
            const cpu::Rectangle area = rectangle(shape, type);
            const Fenced source(area.rows * area.element_pitch);
            fill(source, type, some_values());
            ASSERT_EQ(tier_.amax_rectangle[type](source.data(), area),
                      reference_.amax_rectangle[type](source.data(), area))
                << kTypeNames[type] << ", " << shape.rows << " x " << shape.columns;
            const Fenced expected(shape.columns * 4);
            for (int64_t i = 0; i < shape.columns; ++i)
                expected.as<uint32_t>()[i] = random_below(2) == 0 ? 0 : random_bits() & 0x7FFFFFFFu;
            const Fenced got(expected);
            reference_.amax_columns[type](source.data(), area, expected.as<uint32_t>());
            tier_.amax_columns[type](source.data(), area, got.as<uint32_t>());
            ASSERT_TRUE(same_bytes(expected, got, kTypeNames[type])) << shape.rows << " x " << shape.columns;
        }
    }
}

TEST_P(CpuTierRectangles, Encode)
{
    for (const int32_t index : kEightBit) {
        const Format& format = tile_format(index);
        const cpu::TileKernels& reference = reference_.tiles[index];
        const cpu::TileKernels& tier = tier_.tiles[index];
        for (const int32_t type : kTypes) {
            for (const Shape& shape : shapes()) {
                const cpu::Rectangle area = rectangle(shape, type);
                const Fenced source(area.rows * area.element_pitch);
                fill(source, type, some_values());
                const Fenced expected(area.rows * area.code_pitch);
                const Fenced got(area.rows * area.code_pitch);
                const Fenced each = some_multipliers(format, shape.columns);
                const auto* scales = each.as<codec::Multiplier>();
                reference.encode_columns[cpu::kCached][type](source.data(), area, scales, expected.data());
                tier.encode_columns[stores()][type](source.data(), area, scales, got.data());
                ASSERT_TRUE(same_bytes(expected, got, format.name))
                    << "columns, " << kTypeNames[type] << ", " << shape.rows << " x " << shape.columns;

                const void* next = random_below(2) == 0 ? nullptr : source.data();
                reference.encode_tiles[cpu::kCached][type](source.data(), area, shape.tile, scales, nullptr,
                                                           expected.data());
                tier.encode_tiles[stores()][type](source.data(), area, shape.tile, scales, next, got.data());
                ASSERT_TRUE(same_bytes(expected, got, format.name))
                    << "tiles of " << shape.tile << ", " << kTypeNames[type] << ", " << shape.rows << " x "
                    << shape.columns;
            }
        }
    }
}

TEST_P(CpuTierRectangles, Decode)
{
    for (const int32_t index : kEightBit) {
        const Format& format = tile_format(index);
        const cpu::TileKernels& reference = reference_.tiles[index];
        const cpu::TileKernels& tier = tier_.tiles[index];
        for (const int32_t kind : {kAbsmax, kFactor}) {
            for (const int32_t type : kTypes) {
                for (const Shape& shape : shapes()) {
                    const cpu::Rectangle area = rectangle(shape, type);
                    const Fenced codes(area.rows * area.code_pitch);
                    fill_codes(codes, format);
                    const Fenced expected(area.rows * area.element_pitch);
                    const Fenced got(area.rows * area.element_pitch);
                    const Fenced each = some_scales(shape.columns);
                    const float* scales = each.as<float>();
                    const int64_t bytes = float_type_bytes(type);
                    reference.decode_columns[cpu::kCached][kind][type](codes.data(), area, scales, expected.data());
                    tier.decode_columns[stores()][kind][type](codes.data(), area, scales, got.data());
                    std::vector<float> of_each = spread(scales, area, 1, bytes);
                    ASSERT_TRUE(same_or_two_nans(expected, got, type, of_each.data(), 1, format.name))
                        << "columns, " << kTypeNames[type] << ", " << shape.rows << " x " << shape.columns;

                    reference.decode_tiles[cpu::kCached][kind][type](codes.data(), area, shape.tile, scales,
                                                                     expected.data());
                    tier.decode_tiles[stores()][kind][type](codes.data(), area, shape.tile, scales, got.data());
                    of_each = spread(scales, area, shape.tile, bytes);
                    ASSERT_TRUE(same_or_two_nans(expected, got, type, of_each.data(), 1, format.name))
                        << "tiles of " << shape.tile << ", " << kTypeNames[type] << ", " << shape.rows << " x "
                        << shape.columns;
                }
            }
        }
    }
}

TEST_P(CpuTierRectangles, DecodeRows)
{
    for (const int32_t index : kEightBit) {
        const Format& format = tile_format(index);
        for (const int32_t kind : {kAbsmax, kFactor}) {
            for (const int32_t type : kTypes) {
                for (const int64_t columns : {0, 1, 63, 64, 300, 511, 512, 513, 575, 640, 1153, 2048, 4100, 9000}) {
                    for (const int64_t scale_pitch : {0, 1, 3}) {
                        const int64_t rows = random_below(8);
                        const cpu::Rectangle area = rectangle({rows, columns, columns, random_below(2) == 0}, type);
                        const Fenced codes(area.rows * area.code_pitch);
                        fill_codes(codes, format);
                        // No more than there are: the last row's is the last one.
                        const Fenced each = mixed_scales(rows == 0 ? 0 : (rows - 1) * scale_pitch + 1);
                        const float* scales = each.as<float>();
                        const Fenced expected(area.rows * area.element_pitch);
                        const Fenced got(area.rows * area.element_pitch);
                        reference_.tiles[index].decode_rows[cpu::kCached][kind][type](codes.data(), area, scales,
                                                                                      scale_pitch, expected.data());
                        tier_.tiles[index].decode_rows[stores()][kind][type](codes.data(), area, scales, scale_pitch,
                                                                             got.data());
                        const std::vector<float> of_each =
                            spread_rows(scales, area, scale_pitch, float_type_bytes(type));
                        ASSERT_TRUE(same_or_two_nans(expected, got, type, of_each.data(), 1, format.name))
                            << kTypeNames[type] << ", " << rows << " x " << columns << ", scales " << scale_pitch
                            << " apart, kind " << kind;
                    }
                }
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Tiers, CpuTierRectangles, every_way(), way_name);

} // namespace
} // namespace moeq
