/** errors.js */
import { errors } from "./integrations/errors";
import { publish } from "./script";

publish(() => [errors], {}, { performance: false, replay: false, breadcrumbs: false });
