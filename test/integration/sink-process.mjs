/**
 * A process that feeds sinks from a store whose writer is its parent, until it is killed. Runs from dist, as a node
 * does; progress goes to the parent, as it goes to the committer. Arguments: store directory, pipeline id, plan as JSON.
 */
import { OutboxRunner, progressJson } from '../../dist/engine/pipeline/outbox.js'
import { openStateReader } from '../../dist/engine/store/state-store.js'
import { registry } from '../../dist/operators/registry.js'

const [dir, pipelineId, planJson] = process.argv.slice(2)
const waiting = new Map()
let nextRequest = 1

const outbox = new OutboxRunner({
  pipelines: [{ id: Number(pipelineId), plan: JSON.parse(planJson) }],
  sinks: registry.sinks,
  state: openStateReader({ dir }),
  seriesKey: () => null,
  remember: (_id, sink, progress) =>
    new Promise((resolve) => {
      const request = nextRequest++
      waiting.set(request, resolve)
      process.send({ type: 'remember', request, sink, json: progressJson(progress) })
    }),
  warn: (error) => process.send({ type: 'warning', message: error.message }),
})

process.on('message', (message) => {
  if (message.type === 'remembered') {
    waiting.get(message.request)?.()
    waiting.delete(message.request)
  } else if (message.type === 'committed') {
    outbox.committed(Number(pipelineId))
  } else {
    outbox.drained().then(() => process.send({ type: 'drained' }))
  }
})
process.on('disconnect', () => process.exit(0))

await outbox.start()
