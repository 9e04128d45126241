#include "builder/parts.h"

namespace moeq::builder {

int64_t unit_count(const Geometry& g)
{
    return g.in_runs() ? g.block_count() : g.experts * g.row_tiling.count() * g.column_tiling.count();
}

Unit unit_at(const Geometry& g, int64_t index)
{
    Unit unit;
    if (g.in_runs()) {
        unit.run = index / g.run_blocks();
        unit.begin = index % g.run_blocks() * g.block;
        unit.elements = minimum(g.block, g.run_length - unit.begin);
        return unit;
    }
    const int64_t columns = g.column_tiling.count();
    const int64_t rows = g.row_tiling.count();
    const int64_t j = index % columns;
    const int64_t i = index / columns % rows;
    const int64_t e = index / columns / rows;
    unit.box = {e, e + 1, g.row_tiling.begin(i), g.row_tiling.end(i), g.column_tiling.begin(j), g.column_tiling.end(j)};
    unit.elements = unit.box.rows() * unit.box.columns();
    return unit;
}

} // namespace moeq::builder
