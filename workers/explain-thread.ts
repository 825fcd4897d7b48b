/** A thread that answers one question of `explain`: it restores state, which may take seconds, aside from those who serve. */
import type { MessagePort } from 'node:worker_threads'
import type { ExplainQuery, ExplainRow } from '../engine/contract/queries.ts'
import { explainFrom } from '../engine/pipeline/explain.ts'
import { FeedbackRows } from '../engine/store/feedback/feedback-rows.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { loadPlugins, registry } from './plugins.ts'

export interface ExplainWiring {
  readonly dir: string
  readonly query: ExplainQuery
  /** Takes the rows. */
  readonly port: MessagePort
}

export async function runExplain({ dir, query, port }: ExplainWiring): Promise<void> {
  const state = openStateReader({ dir })
  const log = openLogReader({ dir })
  try {
    const rows: readonly ExplainRow[] = await explainFrom(
      state,
      new FeedbackRows(log),
      query,
      async (plan) => {
        await loadPlugins([plan])
        return registry
      },
    )
    port.postMessage(rows)
  } finally {
    port.close()
    await state.close()
    await log.close()
  }
}
