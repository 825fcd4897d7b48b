/**
 * A job that must run every day: told when it has not run, took too long, or ran and did nothing. At the end of each run
 * the job says so itself:
 *
 *     millrace run examples/batch-job.ts
 *     curl -X POST 'http://127.0.0.1:8428/write?topic=jobs' \
 *       --data-binary "job,job=nightly-export seconds=$SECONDS,rows=$rows"
 *
 * Two weeks of runs lie beside it. Over a file only the runs that are in it can be judged; that one is missing is told by the
 * running node, at the hour when it is.
 *
 *     millrace run examples/batch-job.ts examples/data/batch-job.csv --time time --value seconds,rows --labels job \
 *       --name job --data /tmp/batch-job
 */
import { last, max, pipeline, silence, threshold, topic, tumbling, webhook } from 'millrace'

const jobs = topic('jobs', { partitionBy: ['job'], partitions: 1 })
const alerts = webhook({ url: process.env.ALERTS_URL ?? 'http://127.0.0.1:9999/alerts' })

/** A day, and two hours for a run that starts late or takes longer. */
const missing = pipeline('job-missing')
  .from(jobs)
  .where({ name: 'job_seconds' })
  .groupBy('job')
  .window(tumbling('1h'), { seconds: last() })
  .detect(silence({ after: '26h' }), { name: 'has-not-run' })
  .to(alerts)

/** More than an hour. */
const slow = pipeline('job-slow')
  .from(jobs)
  .where({ name: 'job_seconds' })
  .groupBy('job')
  .idle('1m')
  .window(tumbling('1m'), { seconds: max() })
  .detect('seconds', threshold({ above: 3_600 }), { name: 'too-long' })
  .to(alerts)

/** It says that it ran, but not a row came out. */
const empty = pipeline('job-empty')
  .from(jobs)
  .where({ name: 'job_rows' })
  .groupBy('job')
  .idle('1m')
  .window(tumbling('1m'), { rows: last() })
  .detect('rows', threshold({ below: 1 }), { name: 'nothing-done' })
  .to(alerts)

export default [missing, slow, empty]
