/**
 * A detector of one's own: the value of a window must not be far from that of the window before it.
 *
 *     millrace run examples/own-detector.ts
 *     curl -X POST 'http://127.0.0.1:8428/write' --data-binary 'tank_level,tank=a value=0.82'
 */
import {
  abstain,
  bandReason,
  defineDetector,
  judgeBand,
  mean,
  option,
  pipeline,
  stdout,
  topic,
  tumbling,
} from 'millrace'

// Where the cells of one group lie. All are 0 at first.
const SEEN = 0
const PREVIOUS = 1

const jump = defineDetector({
  kind: 'jump',
  version: 1,
  summary: 'distance from the value of the window before',
  options: {
    by: { type: option.number({ min: 1e-9 }), meaning: 'largest step that is normal, in units of the value' },
  },
  create: ({ by }) => ({
    width: 2,
    score(cells, at, _timeMs, value, verdict) {
      if (cells[at + SEEN] === 0) abstain(verdict)
      else judgeBand(verdict, value, cells[at + PREVIOUS]!, by, 'both', 1)
    },
    learn(cells, at, _timeMs, value) {
      cells[at + SEEN] = 1
      cells[at + PREVIOUS] = value
    },
    reason: bandReason,
  }),
})

export default pipeline('tank-levels')
  .from(topic('metrics'))
  .where({ name: 'tank_level' })
  .window(tumbling('10s'), { level: mean() })
  .detect('level', jump({ by: 0.1 }))
  .to(stdout())
