#!/usr/bin/env node
/**
 * The command `millrace`. Looks at the version of node before anything else is loaded, so that an old one is told what is
 * wanted and not that some file has a syntax error. What follows is cli/process.ts.
 */
import { NODE_WANTED, nodeIsOld } from './cli/node-version.ts'

if (nodeIsOld(process.versions.node)) {
  process.stderr.write(
    `millrace needs node ${NODE_WANTED} or newer; this is ${process.versions.node} (${process.execPath}).\n` +
      'Install a newer one, from https://nodejs.org or with your version manager: nvm install --lts.\n',
  )
  process.exitCode = 1
} else {
  // Not awaited at the top: old ones could not read that.
  void import('./cli/process.ts').then(({ runProcess }) => runProcess())
}
