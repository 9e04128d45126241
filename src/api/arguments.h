// The arguments of each function of moeq.h that tells of errors: arg::spec_print::out_text is what a message and
// moeq_error.argument say of it. Generated: python3 tools/gen_arguments.py --update
#pragma once

#include "core/report.h"

namespace moeq::arg::context_create {
constexpr Argument options{1, "options"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::context_create

namespace moeq::arg::qtensor_quantize {
constexpr Argument context{1, "context"};
constexpr Argument source{2, "source"};
constexpr Argument spec{3, "spec"};
constexpr Argument options{4, "options"};
constexpr Argument stream{5, "stream"};
constexpr Argument out{6, "out"};
} // namespace moeq::arg::qtensor_quantize

namespace moeq::arg::qtensor_dequantize {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument region{2, "region"};
constexpr Argument stream{3, "stream"};
constexpr Argument destination{4, "destination"};
} // namespace moeq::arg::qtensor_dequantize

namespace moeq::arg::context_get_memory {
constexpr Argument context{1, "context"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::context_get_memory

namespace moeq::arg::context_describe {
constexpr Argument context{1, "context"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::context_describe

namespace moeq::arg::tensor_create {
constexpr Argument context{1, "context"};
constexpr Argument dtype{2, "dtype"};
constexpr Argument ndim{3, "ndim"};
constexpr Argument shape{4, "shape"};
constexpr Argument device_type{5, "device_type"};
constexpr Argument device_id{6, "device_id"};
constexpr Argument stream{7, "stream"};
constexpr Argument out{8, "out"};
} // namespace moeq::arg::tensor_create

namespace moeq::arg::tensor_from_legacy {
constexpr Argument context{1, "context"};
constexpr Argument legacy{2, "legacy"};
constexpr Argument out{3, "out"};
} // namespace moeq::arg::tensor_from_legacy

namespace moeq::arg::spec_resolve {
constexpr Argument spec{1, "spec"};
constexpr Argument ndim{2, "ndim"};
constexpr Argument shape{3, "shape"};
constexpr Argument out{4, "out"};
} // namespace moeq::arg::spec_resolve

namespace moeq::arg::spec_get_component {
constexpr Argument spec{1, "spec"};
constexpr Argument ndim{2, "ndim"};
constexpr Argument shape{3, "shape"};
constexpr Argument component{4, "component"};
constexpr Argument out{5, "out"};
} // namespace moeq::arg::spec_get_component

namespace moeq::arg::spec_get_bytes {
constexpr Argument spec{1, "spec"};
constexpr Argument ndim{2, "ndim"};
constexpr Argument shape{3, "shape"};
constexpr Argument bytes{4, "bytes"};
constexpr Argument staging{5, "staging"};
} // namespace moeq::arg::spec_get_bytes

namespace moeq::arg::spec_parse {
constexpr Argument text{1, "text"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::spec_parse

namespace moeq::arg::spec_print {
constexpr Argument spec{1, "spec"};
constexpr Argument out_text{2, "out_text"};
} // namespace moeq::arg::spec_print

namespace moeq::arg::qtensor_adopt {
constexpr Argument context{1, "context"};
constexpr Argument spec{2, "spec"};
constexpr Argument ndim{3, "ndim"};
constexpr Argument shape{4, "shape"};
constexpr Argument components{5, "components"};
constexpr Argument component_count{6, "component_count"};
constexpr Argument stream{7, "stream"};
constexpr Argument out{8, "out"};
} // namespace moeq::arg::qtensor_adopt

namespace moeq::arg::qtensor_get_info {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::qtensor_get_info

namespace moeq::arg::qtensor_get_spec {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::qtensor_get_spec

namespace moeq::arg::qtensor_export {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument component{2, "component"};
constexpr Argument out{3, "out"};
} // namespace moeq::arg::qtensor_export

namespace moeq::arg::qtensor_requantize {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument source{2, "source"};
constexpr Argument options{3, "options"};
constexpr Argument stream{4, "stream"};
} // namespace moeq::arg::qtensor_requantize

namespace moeq::arg::quantize_into {
constexpr Argument context{1, "context"};
constexpr Argument source{2, "source"};
constexpr Argument spec{3, "spec"};
constexpr Argument options{4, "options"};
constexpr Argument stream{5, "stream"};
constexpr Argument destinations{6, "destinations"};
constexpr Argument destination_count{7, "destination_count"};
} // namespace moeq::arg::quantize_into

namespace moeq::arg::qtensor_slice {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument axis{2, "axis"};
constexpr Argument begin{3, "begin"};
constexpr Argument end{4, "end"};
constexpr Argument out{5, "out"};
} // namespace moeq::arg::qtensor_slice

namespace moeq::arg::qtensor_copy {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument device_type{2, "device_type"};
constexpr Argument device_id{3, "device_id"};
constexpr Argument stream{4, "stream"};
constexpr Argument out{5, "out"};
} // namespace moeq::arg::qtensor_copy

namespace moeq::arg::qtensor_compare {
constexpr Argument qtensor{1, "qtensor"};
constexpr Argument source{2, "source"};
constexpr Argument stream{3, "stream"};
constexpr Argument destination{4, "destination"};
} // namespace moeq::arg::qtensor_compare

namespace moeq::arg::builder_create {
constexpr Argument context{1, "context"};
constexpr Argument spec{2, "spec"};
constexpr Argument ndim{3, "ndim"};
constexpr Argument shape{4, "shape"};
constexpr Argument options{5, "options"};
constexpr Argument stream{6, "stream"};
constexpr Argument out{7, "out"};
} // namespace moeq::arg::builder_create

namespace moeq::arg::builder_write {
constexpr Argument builder{1, "builder"};
constexpr Argument expert{2, "expert"};
constexpr Argument row{3, "row"};
constexpr Argument column{4, "column"};
constexpr Argument piece{5, "piece"};
constexpr Argument stream{6, "stream"};
} // namespace moeq::arg::builder_write

namespace moeq::arg::builder_get_state {
constexpr Argument builder{1, "builder"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::builder_get_state

namespace moeq::arg::builder_get_missing {
constexpr Argument builder{1, "builder"};
constexpr Argument blocks{2, "blocks"};
constexpr Argument capacity{3, "capacity"};
constexpr Argument out_count{4, "out_count"};
} // namespace moeq::arg::builder_get_missing

namespace moeq::arg::builder_finish {
constexpr Argument builder{1, "builder"};
constexpr Argument stream{2, "stream"};
constexpr Argument out{3, "out"};
} // namespace moeq::arg::builder_finish

namespace moeq::arg::reduce {
constexpr Argument context{1, "context"};
constexpr Argument source{2, "source"};
constexpr Argument options{3, "options"};
constexpr Argument stream{4, "stream"};
constexpr Argument destination{5, "destination"};
} // namespace moeq::arg::reduce

namespace moeq::arg::reduce_many {
constexpr Argument context{1, "context"};
constexpr Argument sources{2, "sources"};
constexpr Argument count{3, "count"};
constexpr Argument options{4, "options"};
constexpr Argument stream{5, "stream"};
constexpr Argument destination{6, "destination"};
} // namespace moeq::arg::reduce_many

namespace moeq::arg::reduce_shape {
constexpr Argument ndim{1, "ndim"};
constexpr Argument shape{2, "shape"};
constexpr Argument options{3, "options"};
constexpr Argument out_ndim{4, "out_ndim"};
constexpr Argument out_shape{5, "out_shape"};
} // namespace moeq::arg::reduce_shape

namespace moeq::arg::reduce_axes {
constexpr Argument ndim{1, "ndim"};
constexpr Argument quant_axes{2, "quant_axes"};
constexpr Argument quant_axis_count{3, "quant_axis_count"};
constexpr Argument out_axes{4, "out_axes"};
constexpr Argument out_count{5, "out_count"};
} // namespace moeq::arg::reduce_axes

namespace moeq::arg::scale_from_amax {
constexpr Argument context{1, "context"};
constexpr Argument amax{2, "amax"};
constexpr Argument spec{3, "spec"};
constexpr Argument stream{4, "stream"};
constexpr Argument destination{5, "destination"};
} // namespace moeq::arg::scale_from_amax

namespace moeq::arg::reader_open {
constexpr Argument context{1, "context"};
constexpr Argument path{2, "path"};
constexpr Argument options{3, "options"};
constexpr Argument out{4, "out"};
} // namespace moeq::arg::reader_open

namespace moeq::arg::reader_get_info {
constexpr Argument reader{1, "reader"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::reader_get_info

namespace moeq::arg::reader_get_tensor {
constexpr Argument reader{1, "reader"};
constexpr Argument tensor{2, "tensor"};
constexpr Argument out{3, "out"};
} // namespace moeq::arg::reader_get_tensor

namespace moeq::arg::reader_get_stack {
constexpr Argument reader{1, "reader"};
constexpr Argument stack{2, "stack"};
constexpr Argument out{3, "out"};
} // namespace moeq::arg::reader_get_stack

namespace moeq::arg::reader_get_stack_spec {
constexpr Argument reader{1, "reader"};
constexpr Argument stack{2, "stack"};
constexpr Argument out{3, "out"};
} // namespace moeq::arg::reader_get_stack_spec

namespace moeq::arg::reader_find {
constexpr Argument reader{1, "reader"};
constexpr Argument name{2, "name"};
constexpr Argument out_tensor{3, "out_tensor"};
constexpr Argument out_stack{4, "out_stack"};
} // namespace moeq::arg::reader_find

namespace moeq::arg::reader_read {
constexpr Argument reader{1, "reader"};
constexpr Argument tensor{2, "tensor"};
constexpr Argument begin{3, "begin"};
constexpr Argument destination{4, "destination"};
} // namespace moeq::arg::reader_read

namespace moeq::arg::reader_load {
constexpr Argument reader{1, "reader"};
constexpr Argument stack{2, "stack"};
constexpr Argument options{3, "options"};
constexpr Argument stream{4, "stream"};
constexpr Argument out{5, "out"};
} // namespace moeq::arg::reader_load

namespace moeq::arg::reader_metadata {
constexpr Argument reader{1, "reader"};
constexpr Argument out{2, "out"};
} // namespace moeq::arg::reader_metadata

namespace moeq::arg::reader_verify {
constexpr Argument reader{1, "reader"};
constexpr Argument progress{2, "progress"};
constexpr Argument user{3, "user"};
constexpr Argument out{4, "out"};
} // namespace moeq::arg::reader_verify

namespace moeq::arg::writer_create {
constexpr Argument context{1, "context"};
constexpr Argument path{2, "path"};
constexpr Argument options{3, "options"};
constexpr Argument out{4, "out"};
} // namespace moeq::arg::writer_create

namespace moeq::arg::writer_declare {
constexpr Argument writer{1, "writer"};
constexpr Argument name{2, "name"};
constexpr Argument spec{3, "spec"};
constexpr Argument dtype{4, "dtype"};
constexpr Argument ndim{5, "ndim"};
constexpr Argument shape{6, "shape"};
} // namespace moeq::arg::writer_declare

namespace moeq::arg::writer_put {
constexpr Argument writer{1, "writer"};
constexpr Argument name{2, "name"};
constexpr Argument tensor{3, "tensor"};
constexpr Argument stream{4, "stream"};
} // namespace moeq::arg::writer_put

namespace moeq::arg::writer_put_qtensor {
constexpr Argument writer{1, "writer"};
constexpr Argument name{2, "name"};
constexpr Argument qtensor{3, "qtensor"};
constexpr Argument stream{4, "stream"};
} // namespace moeq::arg::writer_put_qtensor

namespace moeq::arg::writer_commit {
constexpr Argument writer{1, "writer"};
} // namespace moeq::arg::writer_commit

namespace moeq::arg::convert_plan {
constexpr Argument context{1, "context"};
constexpr Argument source{2, "source"};
constexpr Argument target{3, "target"};
constexpr Argument options{4, "options"};
constexpr Argument out{5, "out"};
} // namespace moeq::arg::convert_plan

namespace moeq::arg::convert {
constexpr Argument context{1, "context"};
constexpr Argument source{2, "source"};
constexpr Argument target{3, "target"};
constexpr Argument options{4, "options"};
} // namespace moeq::arg::convert
