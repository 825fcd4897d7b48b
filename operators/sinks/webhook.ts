/**
 * Posts records as JSON, at least once, with their id, each as it is or in arrays: see http-sink.ts for what is tried again
 * and what is given up.
 */
import { createHash } from 'node:crypto'
import { integer, type OptionInputOf, type OptionsOf, optionSpec } from '../../engine/config/options.ts'
import { DEFINITION, type SinkChoice } from '../../engine/contract/definition.ts'
import type { AtLeastOnceSink, SinkContext, SinkPlugin, SinkRecord } from '../../engine/contract/plugins.ts'
import {
  checkTarget,
  type HttpRequest,
  HttpSink,
  type HttpTools,
  httpOptions,
  httpUrl,
  jsonRequest,
} from './http-sink.ts'
import { recordJson } from './record-json.ts'

const options = optionSpec(
  {
    url: { type: httpUrl, meaning: 'where to post' },
    headers: httpOptions.headers,
    timeout: httpOptions.timeout,
    batch: {
      type: integer({ min: 1, max: 1_000 }),
      default: 1,
      meaning: 'records a request; 1 posts a JSON object, more a JSON array',
    },
    maxInFlight: httpOptions.maxInFlight,
  },
  checkTarget,
)

export type WebhookOptions = OptionsOf<typeof options>

/** Posts JSON over HTTP, each record at least once, with its id.
 *
 *     .to(webhook({ url: 'http://127.0.0.1:9999/alerts' }))
 */
export function webhook(written: OptionInputOf<typeof options>): SinkChoice {
  return { [DEFINITION]: { what: 'sink', kind: 'webhook', options: written } }
}

export const webhookPlugin: SinkPlugin<WebhookOptions> = {
  kind: 'webhook',
  summary: 'posts JSON over HTTP, each record at least once, with its id',
  guarantee: 'at-least-once',
  options,
  open: async (parsed, context) => openWebhook(parsed, context),
}

export function openWebhook(
  parsed: WebhookOptions,
  context: SinkContext,
  tools?: HttpTools,
): AtLeastOnceSink {
  const target = {
    ...parsed,
    remedy: 'the url and headers of the webhook',
    request: (records: readonly SinkRecord[]) => requestOf(records, parsed),
  }
  return new HttpSink(target, context, tools)
}

/** Equal keys mean equal bodies: one record's id, or a digest of the ids in order. */
function requestOf(records: readonly SinkRecord[], { batch, headers }: WebhookOptions): HttpRequest {
  const first = records[0]!.id
  const single = batch === 1
  const key = single
    ? first
    : createHash('sha256')
        .update(records.map(({ id }) => id).join('\n'))
        .digest('hex')
  const body = single ? recordJson(records[0]!) : `[${records.map(recordJson).join(',')}]`
  return jsonRequest(records, headers, body, key)
}
