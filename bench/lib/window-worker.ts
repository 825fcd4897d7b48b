/** Worker thread of ring-window: one end of a ring. Posts the consumer's tallies, or null when all is produced. */
import { parentPort, workerData } from 'node:worker_threads'
import { consumeIntoChain, producePrepared, type WindowTraffic } from './window-traffic.ts'

const { end, traffic } = workerData as { end: 'producer' | 'consumer'; traffic: WindowTraffic }
if (end === 'producer') producePrepared(traffic)
parentPort?.postMessage(end === 'consumer' ? consumeIntoChain(traffic) : null)
