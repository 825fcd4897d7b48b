/**
 * What a shard sends the committer over its ring, in order. Per (pipeline, partition): group definitions and entries as
 * they are made (partition: the stream, contract/streams.ts); PROGRESS covers every entry of that stream before it; PAGEs
 * belong to the CHECKPOINT that follows them, and it to the PROGRESS before it. What is not covered yet is not committed.
 *
 *   GROUP       0 i32 pipelineId  4 i32 partition   8 i32 groupId  12 i32 keyBytes   16 key
 *   ENTRY       0 i32 pipelineId  4 i32 partition   8 i32 kind     12 i32 bytes
 *              16 f64 seq        24 f64 causeOffset 32 f64 eventTimeMs               40 bytes
 *   PROGRESS    0 i32 pipelineId  4 i32 partition   8 f64 position 16 f64 nextSeq
 *              24 f64 in, windowed, filtered, late, nonFinite, dead   72 f64 logMs, NaN but for partial streams
 *   PAGE        0 i32 pipelineId  4 i32 partition   8 i32 region   12 i32 index      16 f64[PAGE_CELLS]
 *   CHECKPOINT  0 i32 pipelineId  4 i32 partition   8 f64 position 16 f64 nextSeq    24 i32 metaBytes 28 i32 0  32 meta
 *   DONE        the shard has stopped and sends nothing more
 */
export const FRAME_GROUP = 1
export const FRAME_ENTRY = 2
export const FRAME_PROGRESS = 3
export const FRAME_PAGE = 4
export const FRAME_CHECKPOINT = 5
export const FRAME_DONE = 6

export const GROUP_HEADER_BYTES = 16
export const ENTRY_HEADER_BYTES = 40
export const PROGRESS_BYTES = 80
export const PAGE_HEADER_BYTES = 16
export const CHECKPOINT_HEADER_BYTES = 32
