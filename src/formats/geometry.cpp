#include "formats/geometry.h"

namespace moeq {

namespace {

constexpr int64_t kMostEmptyExperts = int64_t{1} << 12; // of a weight without elements
constexpr int64_t kMostEmptyRows = int64_t{1} << 24;    // or columns, of all experts

// Where the gate half of the output axis ends; 0: no border that tiles must respect.
int64_t gate_up_border(const moeq_spec& spec, int64_t extent)
{
    return spec.layout == MOEQ_LAYOUT_GATE_UP || spec.layout == MOEQ_LAYOUT_UP_GATE ? extent / 2 : 0;
}

void set_tilings(Geometry& g)
{
    const bool transposed = g.spec.scale_axis == -2; // the output axis is the columns
    switch (g.spec.granularity) {
    case MOEQ_GRANULARITY_ROW:
        g.row_tiling = transposed ? whole_axis(g.rows) : single_elements(g.rows);
        g.column_tiling = transposed ? single_elements(g.columns) : whole_axis(g.columns);
        break;
    case MOEQ_GRANULARITY_EXPERT:
        g.row_tiling = whole_axis(g.rows);
        g.column_tiling = whole_axis(g.columns);
        break;
    default:
        g.row_tiling = {g.rows, g.spec.block_rows, transposed ? 0 : gate_up_border(g.spec, g.rows)};
        g.column_tiling = {g.columns, g.spec.block_columns, transposed ? gate_up_border(g.spec, g.columns) : 0};
    }
}

void set_runs(Geometry& g)
{
    g.block = g.spec.block_columns;
    switch (g.spec.blocking) {
    case MOEQ_BLOCKING_ROW:
        g.run_count = g.experts * g.rows;
        g.run_length = g.columns;
        g.runs_per_expert = g.rows;
        break;
    case MOEQ_BLOCKING_FLAT:
        g.run_count = 1;
        g.run_length = g.count();
        g.runs_per_expert = 0;
        break;
    default:
        g.run_count = g.experts;
        g.run_length = g.rows * g.columns;
        g.runs_per_expert = 1;
    }
}

// Appends axes behind the weight's leading ones.
void set_shape(const Geometry& g, int32_t lead, int32_t inner, const int64_t* extents, TensorView* out)
{
    out->ndim = lead + inner;
    for (int32_t i = 0; i < lead; ++i)
        out->shape[i] = g.shape[i];
    for (int32_t i = 0; i < inner; ++i)
        out->shape[lead + i] = extents[i];
}

void set_code_shape(const Geometry& g, TensorView* out)
{
    out->dtype = g.format->code_dtype;
    if (!g.in_runs()) {
        const int64_t extents[2] = {g.rows, g.columns};
        set_shape(g, g.lead(), 2, extents, out);
    } else if (g.flat()) {
        const int64_t extents[2] = {g.run_bytes(), 1};
        set_shape(g, 0, 2, extents, out);
    } else if (g.run_per_row()) {
        const int64_t extents[2] = {g.rows, g.run_bytes()};
        set_shape(g, g.lead(), 2, extents, out);
    } else {
        const int64_t extents[1] = {g.run_bytes()};
        set_shape(g, g.lead(), 1, extents, out);
    }
}

void set_scale_shape(const Geometry& g, TensorView* out)
{
    out->dtype = g.nested() ? MOEQ_DTYPE_UINT8 : g.format->statistic_dtype;
    if (g.in_runs()) {
        const int64_t blocks = g.run_blocks();
        const int64_t extents[2] = {g.rows, blocks};
        if (g.flat())
            set_shape(g, 0, 1, &blocks, out);
        else if (g.run_per_row())
            set_shape(g, g.lead(), 2, extents, out);
        else
            set_shape(g, g.lead(), 1, &blocks, out);
        return;
    }
    const int64_t extents[2] = {g.row_tiling.count(), g.column_tiling.count()};
    if (g.spec.granularity == MOEQ_GRANULARITY_BLOCK)
        set_shape(g, g.lead(), 2, extents, out);
    else if (g.spec.granularity == MOEQ_GRANULARITY_ROW)
        set_shape(g, g.lead(), 1, g.scale_per_column() ? extents + 1 : extents, out);
    else
        set_shape(g, g.lead(), 0, nullptr, out);
}

} // namespace

moeq_status make_geometry(const moeq_spec& spec, int32_t spec_argument, int32_t ndim, const int64_t* shape,
                          int32_t shape_argument, const char* shape_name, Geometry* out, Report& report)
{
    Geometry g;
    moeq_status status = resolve_spec(spec, spec_argument, "spec", &g.spec, report);
    if (status != MOEQ_OK)
        return status;
    if (ndim < 2 || ndim > kMaxDims)
        return report.fail(MOEQ_ERROR_SHAPE, shape_argument, shape_name)
               << "got " << ndim << " dimensions; want 2 to " << kMaxDims << ": [experts, rows, columns]";
    if (shape == nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, shape_argument, shape_name) << "got NULL; want " << ndim << " extents";
    for (int32_t i = 0; i < ndim; ++i)
        if (shape[i] < 0)
            return report.fail(MOEQ_ERROR_SHAPE, shape_argument, shape_name)
                   << "got extent " << shape[i] << " on axis " << i << "; want 0 or more";
    // Components are at most 4 bytes per element (a scale for each), so this keeps every size below 2^63.
    int64_t total = 0;
    int64_t nonzero = 1;
    bool fits = true;
    for (int32_t i = 0; i < ndim; ++i)
        fits = fits && checked_multiply(nonzero, maximum(shape[i], 1), &nonzero);
    if (!fits || !checked_multiply(nonzero, 16, &total))
        return (report.fail(MOEQ_ERROR_SHAPE, shape_argument, shape_name) << "got ").shape(ndim, shape)
               << "; want less than 2^59 elements";
    g.format = find_format(g.spec.format);
    g.ndim = ndim;
    g.experts = 1;
    for (int32_t i = 0; i < ndim; ++i) {
        g.shape[i] = shape[i];
        g.experts *= i < ndim - 2 ? shape[i] : 1;
    }
    g.rows = shape[ndim - 2];
    g.columns = shape[ndim - 1];
    // Rows and columns without elements: nothing bounds their number, and that of their statistics, but this.
    if (g.count() == 0 &&
        (g.experts > kMostEmptyExperts || maximum(g.experts, 1) * maximum(g.rows, g.columns) > kMostEmptyRows))
        return (report.fail(MOEQ_ERROR_SHAPE, shape_argument, shape_name) << "got ").shape(ndim, shape)
               << ", without an element; want at most " << kMostEmptyExperts << " experts and " << kMostEmptyRows
               << " rows and columns of such";
    const int64_t output = g.spec.scale_axis == -2 ? g.columns : g.rows;
    if (g.spec.layout != MOEQ_LAYOUT_PLAIN && output % 2 != 0)
        return (report.fail(MOEQ_ERROR_SHAPE, shape_argument, shape_name) << "got ").shape(ndim, shape)
               << " with a gate/up layout; want an even extent " << output << " of the output axis";
    g.in_runs() ? set_runs(g) : set_tilings(g);
    *out = g;
    return MOEQ_OK;
}

bool component_layout(const Geometry& g, int32_t component, TensorView* out)
{
    TensorView view;
    view.device_type = MOEQ_DEVICE_CPU;
    switch (component) {
    case MOEQ_COMPONENT_CODES:
        set_code_shape(g, &view);
        break;
    case MOEQ_COMPONENT_SCALE:
        set_scale_shape(g, &view);
        break;
    case MOEQ_COMPONENT_CODE_MAP: {
        const int64_t values = 16;
        if (g.format->code_map == nullptr)
            return false;
        view.dtype = MOEQ_DTYPE_FP32;
        set_shape(g, 0, 1, &values, &view);
        break;
    }
    case MOEQ_COMPONENT_NESTED_SCALE:
    case MOEQ_COMPONENT_NESTED_MAP:
    case MOEQ_COMPONENT_NESTED_OFFSET: {
        if (!g.nested())
            return false;
        const int64_t extent =
            component == MOEQ_COMPONENT_NESTED_SCALE ? ceil_divide(g.block_count(), kNestedBlock) : kNestedMapSize;
        view.dtype = MOEQ_DTYPE_FP32;
        set_shape(g, 0, component == MOEQ_COMPONENT_NESTED_OFFSET ? 0 : 1, &extent, &view);
        break;
    }
    default:
        return false;
    }
    view.count = 1;
    for (int32_t i = 0; i < view.ndim; ++i)
        view.count *= view.shape[i];
    set_contiguous_strides(view);
    *out = view;
    return true;
}

const char* component_name(int32_t component)
{
    switch (component) {
    case MOEQ_COMPONENT_CODES:
        return "codes";
    case MOEQ_COMPONENT_SCALE:
        return "scale";
    case MOEQ_COMPONENT_NESTED_SCALE:
        return "nested_scale";
    case MOEQ_COMPONENT_NESTED_MAP:
        return "nested_map";
    case MOEQ_COMPONENT_NESTED_OFFSET:
        return "nested_offset";
    case MOEQ_COMPONENT_CODE_MAP:
        return "code_map";
    default:
        return "an unknown component";
    }
}

int32_t stored_components(const Geometry& g, int32_t* out)
{
    int32_t count = 0;
    out[count++] = MOEQ_COMPONENT_CODES;
    out[count++] = MOEQ_COMPONENT_SCALE;
    if (g.nested()) {
        out[count++] = MOEQ_COMPONENT_NESTED_SCALE;
        out[count++] = MOEQ_COMPONENT_NESTED_MAP;
        out[count++] = MOEQ_COMPONENT_NESTED_OFFSET;
    }
    return count;
}

int64_t stored_bytes(const Geometry& g)
{
    int32_t components[kComponentLimit];
    const int32_t count = stored_components(g, components);
    int64_t bytes = 0;
    for (int32_t i = 0; i < count; ++i) {
        TensorView view;
        component_layout(g, components[i], &view);
        bytes += view.count * view.itemsize();
    }
    return bytes;
}

} // namespace moeq
